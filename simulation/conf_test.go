package simulation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// conf is the conf file as the oracle reads it.
type conf struct {
	number   int
	writer   string
	digest   string // of the blocks as they are
	upstream map[string]block
	leaving  []string
	frozen   []string // "*" is everything
}

// block is what nginx makes of an upstream's block.
type block struct {
	options string
	servers []entry
	text    string // what nginx sees of it
}

type entry struct {
	addr, rest string // the rest as it stands in the file
	down       bool
	origin     string // no part of what nginx runs
}

// sealed is the block in order, with its text.
func (b block) sealed() block {
	slices.SortFunc(b.servers, func(a, b entry) int { return strings.Compare(a.addr, b.addr) })
	var s strings.Builder
	s.WriteString(b.options)
	for _, e := range b.servers {
		s.WriteString("\n")
		s.WriteString(e.addr)
		s.WriteString(" ")
		s.WriteString(e.rest)
	}
	b.text = s.String()
	return b
}

var (
	upstreamLine = regexp.MustCompile(`^upstream ([A-Za-z0-9_][A-Za-z0-9_.-]*) \{$`)
	optionLine   = regexp.MustCompile(`^    (least_conn|keepalive [0-9]+);$`)
	serverLine   = regexp.MustCompile(`^    server ([0-9.]+:[0-9]+) (weight=[0-9]+ max_fails=[0-9]+ fail_timeout=[0-9]+s(?: backup)?( down)?); # ([A-Za-z0-9,-]+)$`)
	headerLine   = regexp.MustCompile(`^# ([a-z]+): ([ -~]*)$`)
	firstLine    = regexp.MustCompile(`^# Written by swallowkeeper on ([ -~]+): edits are lost\. See docs/operation\.md\.$`)
)

// flaw is what is wrong with a conf file, and which invariant says so.
type flaw struct {
	invariant int
	text      string
}

func (f *flaw) Error() string { return f.text }

func wrong(invariant int, format string, a ...any) error {
	return &flaw{invariant, fmt.Sprintf(format, a...)}
}

// readConf reads a conf file to the letter: a line that it does not know is one that nginx might know. Blocks that it has
// read before are in known, by their text.
func readConf(text string, known map[string]block) (c conf, err error) {
	head, blocks, found := strings.Cut(text, "\n\n")
	if !found && !strings.HasSuffix(text, "\n") {
		return c, wrong(3, "the file has no end of its header")
	}
	lines := strings.Split(head, "\n")
	first := firstLine.FindStringSubmatch(lines[0])
	if first == nil {
		return c, wrong(3, "the first line is %q", lines[0])
	}
	c.writer = first[1]
	said := ""
	for _, line := range lines[1:] {
		m := headerLine.FindStringSubmatch(line)
		if m == nil {
			return c, wrong(6, "%q is no line of the header", line)
		}
		switch m[1] {
		case "generation":
			if c.number, err = strconv.Atoi(m[2]); err != nil {
				return c, err
			}
		case "digest":
			said = strings.TrimPrefix(m[2], "sha256:")
		case "leaving":
			c.leaving = append(c.leaving, m[2])
		case "frozen":
			name, _, _ := strings.Cut(m[2], " ")
			c.frozen = append(c.frozen, name)
		case "time", "reason", "by", "pushing", "stranger", "guard":
		default:
			return c, wrong(6, "%q is no line of the header", line)
		}
	}
	sum := sha256.Sum256([]byte(blocks))
	if c.digest = hex.EncodeToString(sum[:]); c.digest != said {
		return c, wrong(3, "the digest is another than the header says")
	}
	c.upstream, err = readBlocks(blocks, known)
	return c, err
}

func readBlocks(text string, known map[string]block) (map[string]block, error) {
	all := map[string]block{}
	if text == "" {
		return all, nil
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(text, "}\n"), "}\n\n") {
		first, rest, _ := strings.Cut(strings.TrimSuffix(part, "\n"), "\n")
		head := upstreamLine.FindStringSubmatch(first)
		if head == nil {
			return nil, wrong(6, "%q begins no upstream", first)
		}
		if _, twice := all[head[1]]; twice {
			return nil, wrong(6, "upstream %s is there twice", head[1])
		}
		if b, is := known[part]; is {
			all[head[1]] = b
			continue
		}
		var b block
		if rest == "" {
			return nil, wrong(7, "upstream %s has no server", head[1])
		}
		for line := range strings.SplitSeq(rest, "\n") {
			if m := serverLine.FindStringSubmatch(line); m != nil {
				b.servers = append(b.servers, entry{addr: m[1], rest: m[2], down: m[3] != "", origin: m[4]})
			} else if m := optionLine.FindStringSubmatch(line); m != nil {
				b.options += m[1] + ";"
			} else {
				return nil, wrong(6, "%q is no line of an upstream", line)
			}
		}
		if len(b.servers) == 0 {
			return nil, wrong(7, "upstream %s has no server", head[1])
		}
		b = b.sealed()
		all[head[1]], known[part] = b, b
	}
	return all, nil
}
