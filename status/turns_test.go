package status_test

import (
	"bufio"
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

// TestLargeAnswersAreBounded has readers that ask for much and take nothing: no more answers
// are in memory than may be, and whoever asks for health is answered all the same.
func TestLargeAnswersAreBounded(t *testing.T) {
	bubble(t, statustest.New(), func(t *testing.T, _ *status.Site, p *pipes, _ func()) {
		for range status.MostAnswers {
			defer p.dial(t, "/api/v1/upstreams").Close()
		}
		synctest.Wait()
		began := time.Now()
		expect := func(path string, code int, after time.Duration) {
			t.Helper()
			c := p.dial(t, path)
			defer c.Close()
			a, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); a.StatusCode != code || took != after {
				t.Errorf("%s answers %d after %s", path, a.StatusCode, took)
			}
		}
		expect("/healthz", http.StatusOK, 0)
		expect("/readyz", http.StatusOK, 0)
		expect("/api/v1/events", http.StatusOK, 0)
		expect("/api/v1/status", http.StatusServiceUnavailable, 3*time.Second)
		pass(25 * time.Second) // the first readers' time is up 2 s later, within the turn of the next
		expect("/api/v1/status", http.StatusOK, 30*time.Second)
	})
}

// TestAFreeTurnIsTaken has nobody told that others are being answered where a turn is free, also who has just gone.
func TestAFreeTurnIsTaken(t *testing.T) {
	bubble(t, statustest.New(), func(t *testing.T, s *status.Site, _ *pipes, _ func()) {
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range status.MostAnswers {
			if !s.Turn(gone) {
				t.Fatal("a turn was free")
			}
		}
		if s.Turn(gone) {
			t.Error("there was none any more")
		}
	})
}
