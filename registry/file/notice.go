package file

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// notice triggers a read when the system reports a change. If that is impossible, the files are only read at each
// resync.
func (r *Registry) notice(ctx context.Context) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		r.notWatching(err)
		return
	}
	again := time.NewTicker(r.cfg.Resync)
	defer again.Stop()
	for {
		// Folders come and go and are replaced; folders that are already watched stay watched. On a mount whose server
		// is dead, this hangs. Then no change is noticed, and shutdown does not wait for it.
		looked := make(chan string, 1)
		go func() { looked <- r.look(w) }()
		var target string
		select {
		case target = <-looked:
		case <-ctx.Done():
			select {
			case <-looked:
				_ = w.Close()
			case <-time.After(parting):
				go func() {
					<-looked
					_ = w.Close()
				}()
			}
			return
		}
		select {
		case <-ctx.Done():
			_ = w.Close()
			return
		case e := <-w.Events:
			if !r.concerns(e.Name, target) {
				continue
			}
			select {
			case r.changed <- struct{}{}:
			default:
			}
		case err := <-w.Errors:
			r.notWatching(err)
		case <-again.C:
		}
	}
}

func (r *Registry) notWatching(err error) {
	r.Log.WithError(err).Debug("the system reports no changes here: the files are read at every resync")
}

// look watches the folders where a change may concern the files: those of the path and its target, and the target
// itself if it is a folder. It returns the target, or "" if it is unknown.
func (r *Registry) look(w *fsnotify.Watcher) (target string) {
	folders := []string{filepath.Dir(r.cfg.Path)}
	target, err := filepath.EvalSymlinks(r.cfg.Path)
	switch {
	case err != nil:
		target = ""
	case known(target):
		folders = append(folders, filepath.Dir(target))
	default:
		folders = append(folders, filepath.Dir(target), target)
	}
	for _, dir := range folders {
		if err := w.Add(dir); err != nil {
			r.notWatching(err)
		}
	}
	return target
}

// concerns reports whether a change concerns the files.
func (r *Registry) concerns(name, target string) bool {
	base := filepath.Base(name)
	return base == filepath.Base(r.cfg.Path) || strings.HasPrefix(base, "..") ||
		target == "" || base == filepath.Base(target) || !known(target) && known(base)
}
