package file

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// notice has the files read as soon as the system reports a change. Where it can't, they are read at every resync.
func (r *Registry) notice(ctx context.Context) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		r.unnoticed(err)
		return
	}
	defer func() { _ = w.Close() }()
	again := time.NewTicker(r.cfg.Resync)
	defer again.Stop()
	for {
		// Folders come, go and are replaced: those that are watched already stay so.
		for _, dir := range r.folders() {
			if err := w.Add(dir); err != nil {
				r.unnoticed(err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case e := <-w.Events:
			if !r.concerns(e.Name) {
				continue
			}
			select {
			case r.changed <- struct{}{}:
			default:
			}
		case err := <-w.Errors:
			r.unnoticed(err)
		case <-again.C:
		}
	}
}

func (r *Registry) unnoticed(err error) {
	r.Log.WithError(err).Debug("the system reports no changes here: the files are read at every resync")
}

// folders are those in which a change may be one of the files: around the path and where it leads to, and of a folder
// itself.
func (r *Registry) folders() []string {
	folders := []string{filepath.Dir(r.cfg.Path)}
	target, err := filepath.EvalSymlinks(r.cfg.Path)
	if err != nil {
		return folders
	}
	if known(target) {
		return append(folders, filepath.Dir(target))
	}
	return append(folders, filepath.Dir(target), target)
}

// concerns leaves out what else happens in these folders.
func (r *Registry) concerns(name string) bool {
	base := filepath.Base(name)
	if base == filepath.Base(r.cfg.Path) || strings.HasPrefix(base, "..") {
		return true
	}
	target, err := filepath.EvalSymlinks(r.cfg.Path)
	return err != nil || base == filepath.Base(target) || !known(target) && known(base)
}
