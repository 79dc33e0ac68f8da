package consul

import (
	"strconv"
	"strings"
	"time"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

// Keys of a service's meta that set options of its server. A bad value puts the instance out, as whoever set it had a
// reason.
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
			return badNumber.Err(m.key, safetext.Quote(text), m.min, m.max)
		}
		*m.to = n
	}
	if text, ok := meta[metaFailTimeout]; ok {
		d, err := seconds(text)
		if err == nil {
			err = upstream.ValidFailTimeout(d)
		}
		if err != nil {
			return badSeconds.Err(metaFailTimeout, safetext.Quote(text), upstream.MaxFailTimeout)
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
			return badBool.Err(metaBackup, safetext.Quote(text))
		}
	}
	return nil
}

// seconds parses a duration, or like nginx a plain number of seconds.
func seconds(text string) (time.Duration, error) {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	return time.ParseDuration(text)
}
