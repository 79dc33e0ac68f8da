package dyupstest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

// block is the inside of an upstream block as it was read. It never changes.
type block struct {
	options upstream.Options
	servers []upstream.Server
	bytes   int // of its text
}

// named is an upstream of a conf file.
type named struct {
	name  string
	block *block
}

// Errors of bodies that do more harm than to be refused.
var (
	// errDeadly is a body that the worker dies of.
	errDeadly = errors.New("the worker dies of it")
	// errPoison is a body after which the worker can set up no upstream any more.
	errPoison = errors.New("it names a variable that the configuration does not use")
)

// parseBody reads the body of a POST, known being the variables that may be used.
func parseBody(text string, known []string) (*block, error) {
	options, servers, err := nginxconf.ParseBody([]byte(text))
	if errors.Is(err, nginxconf.ErrZone) {
		return nil, errDeadly
	}
	if err != nil {
		return nil, err
	}
	for word := range strings.FieldsSeq(options.Method) {
		if strings.Contains(word, "$") && !slices.Contains(known, word) {
			return nil, errPoison
		}
	}
	return &block{options: options, servers: servers, bytes: len(text)}, nil
}

var (
	comment       = regexp.MustCompile(`(?m)(^|\s)#.*$`)
	upstreamBlock = regexp.MustCompile(`^\s*upstream\s+([^\s{};]+)\s*\{([^{}]*)\}\s*`)
)

// parseFile reads a file of upstream blocks and nothing else.
func parseFile(text []byte) ([]named, error) {
	var conf []named
	seen := map[string]bool{}
	rest := comment.ReplaceAll(text, nil)
	for len(strings.TrimSpace(string(rest))) > 0 {
		m := upstreamBlock.FindSubmatch(rest)
		if m == nil {
			return nil, errors.New("something other than upstream blocks is in it")
		}
		rest = rest[len(m[0]):]
		name := string(m[1])
		if seen[fold(name)] {
			return nil, fmt.Errorf("duplicate upstream %q", name)
		}
		seen[fold(name)] = true
		options, servers, err := nginxconf.ParseBody(m[2])
		if err != nil {
			return nil, fmt.Errorf("upstream %q: %w", name, err)
		}
		conf = append(conf, named{name, &block{options: options, servers: servers}})
	}
	return conf, nil
}
