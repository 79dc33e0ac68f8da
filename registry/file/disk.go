package file

import (
	"context"
	"fmt"
	"time"
)

const (
	// patience is the time limit for a read: on a mount whose server is dead, it would hang forever.
	patience = 5 * time.Second
	// parting is how long shutdown waits for a read in progress.
	parting = time.Second
)

// disk reads with a time limit. A hanging read can't be stopped, so no other one is started meanwhile.
type disk struct {
	path string
	// collect is replaced in tests.
	collect func(path string) (reading, error)
	busy    chan struct{}
}

func newDisk(path string) disk {
	return disk{path: path, collect: collect, busy: make(chan struct{}, 1)}
}

// read reads all files.
func (d disk) read(ctx context.Context) (reading, error) {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	hangs := func() error {
		return fmt.Errorf("%s: the system has not read it for %s: is it on a mount whose server is away?", d.path, patience)
	}
	select {
	case d.busy <- struct{}{}:
	case <-limit.C:
		return reading{}, hangs()
	case <-ctx.Done():
		return reading{}, ctx.Err()
	}
	type result struct {
		reading
		err error
	}
	read := make(chan result, 1)
	go func() {
		all, err := d.collect(d.path)
		read <- result{all, err}
		<-d.busy
	}()
	select {
	case r := <-read:
		return r.reading, r.err
	case <-limit.C:
		return reading{}, hangs()
	case <-ctx.Done():
	}
	select {
	case <-read:
	case <-time.After(parting):
	}
	return reading{}, ctx.Err()
}
