package consultestserver

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// recorder is a test that may fail: it keeps what it is told. Its Fatal ends the calling goroutine.
type recorder struct {
	testing.TB
	text     strings.Builder
	failed   bool
	cleanups []func()
}

func (r *recorder) Helper()                 {}
func (r *recorder) Failed() bool            { return r.failed }
func (r *recorder) Cleanup(f func())        { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Logf(f string, a ...any) { fmt.Fprintf(&r.text, f+"\n", a...) }

func (r *recorder) Errorf(f string, a ...any) {
	r.failed = true
	r.Logf(f, a...)
}

func (r *recorder) Fatal(a ...any) {
	r.Errorf("%s", fmt.Sprint(a...))
	runtime.Goexit()
}

func (r *recorder) cleanUp() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}
