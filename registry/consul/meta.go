package consul

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

// The keys of a service's meta that set the options of its server. A value that is not
// right puts the instance out: whoever wrote it meant something by it.
const (
	metaWeight      = "nginx-weight"
	metaMaxFails    = "nginx-max-fails"
	metaFailTimeout = "nginx-fail-timeout"
	metaMaxConns    = "nginx-max-conns"
	metaBackup      = "nginx-backup"
)

func applyMeta(s *upstream.Server, meta map[string]string) error {
	for _, m := range []struct {
		key      string
		to       *int
		min, max int
	}{
		{metaWeight, &s.Weight, 1, upstream.MaxWeight},
		{metaMaxFails, &s.MaxFails, 0, upstream.MaxCount},
		{metaMaxConns, &s.MaxConns, 0, upstream.MaxCount},
	} {
		text, ok := meta[m.key]
		if !ok {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < m.min || n > m.max {
			return fmt.Errorf("meta %s = %s: allowed is a number from %d to %d", m.key, safetext.Quote(text), m.min, m.max)
		}
		*m.to = n
	}
	if text, ok := meta[metaFailTimeout]; ok {
		d, err := seconds(text)
		if err == nil {
			err = upstream.ValidFailTimeout(d)
		}
		if err != nil {
			return fmt.Errorf("meta %s = %s: allowed are whole seconds such as 5 or 5s, up to %s",
				metaFailTimeout, safetext.Quote(text), upstream.MaxFailTimeout)
		}
		s.FailTimeout = d
	}
	if text, ok := meta[metaBackup]; ok {
		switch strings.ToLower(text) {
		case "true", "1":
			s.Backup = true
		case "false", "0":
			s.Backup = false
		default:
			return fmt.Errorf("meta %s = %s: allowed are true and false", metaBackup, safetext.Quote(text))
		}
	}
	return nil
}

// seconds reads a duration, or a bare number of seconds as nginx does.
func seconds(text string) (time.Duration, error) {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	return time.ParseDuration(text)
}
