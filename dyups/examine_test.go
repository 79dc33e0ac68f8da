package dyups_test

import (
	"slices"
	"testing"
	"time"

	"swallowkeeper/dyups"
	"swallowkeeper/dyups/dyupstest"
)

func TestExamine(t *testing.T) {
	for _, header := range []bool{true, false} {
		s := server(t, dyupstest.Options{WorkerHeader: header})
		c := dyups.DefaultConfig()
		c.Address = s.API()
		if err := dyups.NewClient(s.API()).Post(t.Context(), "web", []byte("server 10.0.0.1:80;")); err != nil {
			t.Fatal(err)
		}
		x, err := dyups.Examine(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if x.Worker != header || !slices.Equal(x.Live, []string{"web"}) || x.Ahead.Abs() > 3*time.Second {
			t.Errorf("header %v: %+v", header, x)
		}
		s.Close()
		if _, err := dyups.Examine(t.Context(), c); err == nil {
			t.Error("one that is down is examined")
		}
	}
}
