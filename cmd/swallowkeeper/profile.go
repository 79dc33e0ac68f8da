//go:build profile

package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"syscall"
)

// Benchmarks build with the tag profile, packages never. A SIGUSR2 then begins a CPU profile in the folder PROFILE_DIR, and
// the next ends it; at both moments a profile of all allocations since the start goes beside it.
var _ = func() any {
	dir := os.Getenv("PROFILE_DIR")
	if dir == "" {
		return nil
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR2)
	create := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			panic(err)
		}
		return f
	}
	allocations := func(name string) {
		runtime.GC() // the profile is as of the last collection
		f := create(name)
		defer f.Close()
		if err := pprof.Lookup("allocs").WriteTo(f, 0); err != nil {
			panic(err)
		}
	}
	go func() {
		for {
			<-told
			allocations("allocs-begin.pprof")
			if err := pprof.StartCPUProfile(create("cpu.pprof")); err != nil {
				panic(err)
			}
			create("profile.begun").Close()
			<-told
			pprof.StopCPUProfile()
			allocations("allocs-end.pprof")
			create("profile.ended").Close() // whoever waits for this file finds the others whole
		}
	}()
	return nil
}()
