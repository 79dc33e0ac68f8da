package lua

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// State is the result of an install for a file.
type State string

// Results of an install.
const (
	Written   State = "written"   // it did not exist
	Updated   State = "updated"   // it was of another version or configuration
	Forced    State = "forced"    // it had been changed by somebody, and was overwritten
	Unchanged State = "unchanged" // it was up to date
)

// Result is a file and the result of the install.
type Result struct {
	Path  string
	State State
}

// Install writes the library and the files to include. If any of them was changed since the last install, it writes
// nothing, and returns an error that names each such file and wraps [ErrChanged]. With force it overwrites them.
func Install(c Config, force bool) ([]Result, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	list, err := c.render()
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(list))
	var changed []error
	for i, f := range list {
		path := filepath.Join(c.Dir, filepath.FromSlash(f.path))
		state, err := look(path, f.text)
		switch {
		case err != nil:
			return nil, err
		case state == Forced && !force:
			changed = append(changed, fmt.Errorf("%s: %w", path, ErrChanged))
		}
		results[i] = Result{path, state}
	}
	if len(changed) > 0 {
		return nil, errors.Join(changed...)
	}
	for i, f := range list {
		if results[i].State == Unchanged {
			continue
		}
		if err := replace(results[i].Path, f.text); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// look returns what an install would do with a file.
func look(path string, text []byte) (State, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Written, nil
	case err != nil:
		return "", fmt.Errorf("look at %s: %w", path, err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("look at %s: it is no regular file", path)
	}
	old, err := os.ReadFile(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("look at %s: %w", path, err)
	case bytes.Equal(old, text):
		return Unchanged, nil
	case untouched(path, old):
		return Updated, nil
	default:
		return Forced, nil
	}
}

// replace writes a temporary file and renames it, so that a starting nginx reads either the old or the new one
// completely.
func replace(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // nginx reads it as another user
		return fmt.Errorf("install %s: %w", path, err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".install-*")
	if err != nil {
		return fmt.Errorf("install %s: %w", path, err)
	}
	_, err = temp.Write(text)
	err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		return fmt.Errorf("install %s: %w", path, err)
	}
	return nil
}
