package register

import (
	"os"
	"testing"
)

func TestGone(t *testing.T) {
	other := Process("n1", os.Getppid())
	if other.Born == "" {
		t.Skip("no processes can be read here")
	}
	elsewhere, ended, reborn := other, other, other
	elsewhere.Machine, elsewhere.Born, ended.PID, reborn.Born = "another", "1", 1<<30, "1"
	for _, row := range []struct {
		name string
		o    Owner
		want bool
	}{
		{"one that lives", other, false},
		{"one of another machine", elsewhere, false},
		{"one that has ended", ended, true},
		{"its process ID is another's now", reborn, true},
		{"an earlier one with this process ID", Process("n1", os.Getpid()), true},
	} {
		if got := row.o.Gone(); got != row.want {
			t.Errorf("%s: gone is %v", row.name, got)
		}
	}
}
