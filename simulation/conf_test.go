package simulation

import (
	"crypto/sha256"
	"encoding/base32"
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
	digest   string // of the blocks as they are, in order, whether they are shards or not
	upstream map[string]block
	shards   []string // that it includes
	leaving  []string
	frozen   []string // "*" is everything
}

// block is what nginx makes of an upstream's block.
type block struct {
	name    string // in the conf file
	options string
	servers []entry
	text    string // what nginx sees of it
	routes  []said // in order
	full    string // the text, and the routes in words that a gateway with routes sees
}

// said is a route: its words, and the registries that say it.
type said struct{ words, origin string }

// claim is what only one upstream can have of it: the host and the path.
func (r said) claim() string { claim, _, _ := strings.Cut(r.words, " "); return claim }

// seen is what a gateway sees of a block.
func (b block) seen(routed bool) string {
	if routed {
		return b.full
	}
	return b.text
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
	slices.SortFunc(b.routes, func(a, b said) int { return strings.Compare(a.words, b.words) })
	for _, r := range b.routes {
		s.WriteString("\n")
		s.WriteString(r.words)
	}
	b.full = s.String()
	return b
}

var (
	upstreamLine = regexp.MustCompile(`^upstream ([A-Za-z0-9_][A-Za-z0-9_.-]*) \{$`)
	optionLine   = regexp.MustCompile(`^    (least_conn|keepalive [0-9]+);$`)
	serverLine   = regexp.MustCompile(`^    server ([0-9.]+:[0-9]+) (weight=[0-9]+ max_fails=[0-9]+ fail_timeout=[0-9]+s(?: backup)?( down)?); # ([A-Za-z0-9,-]+)$`)
	routeLine    = regexp.MustCompile(`^    # route ((?:[a-z0-9.-]+)?/[A-Za-z0-9._~/*:{}\[\]+-]*(?: (?:strip|timeout|methods|rewrite)=[A-Za-z0-9/,{}-]+)*) from=([A-Za-z0-9,-]+)$`)
	includeLine  = regexp.MustCompile(`^include ` + regexp.QuoteMeta(shardFolder) + `/([a-z2-7]{32})\.conf;$`)
	shardsLine   = regexp.MustCompile(`^[0-9]+$`)
	firstLine    = regexp.MustCompile(`^# Written by swallowkeeper on ([ -~]+): edits are lost\. See docs/operation\.md\.(?: Notes [0-9]+(?:, with the guard's account)?\.)?$`)
)

// headerLine is a key and its value in a line of the header.
func headerLine(line string) (key, value string, ok bool) {
	key, value, ok = strings.Cut(line, ": ")
	key, begins := strings.CutPrefix(key, "# ")
	odd := func(r rune) bool { return r < ' ' || r > '~' }
	return key, value, ok && begins && !strings.ContainsFunc(value, odd)
}

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
// read before are in known, by their text, and shard has the shards.
func readConf(text string, shard func(name string) []byte, known map[string]block) (c conf, err error) {
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
	said, sharded := "", false
	for _, line := range lines[1:] {
		key, value, is := headerLine(line)
		if !is {
			return c, wrong(6, "%q is no line of the header", line)
		}
		switch key {
		case "generation":
			if c.number, err = strconv.Atoi(value); err != nil {
				return c, err
			}
		case "digest":
			said = strings.TrimPrefix(value, "sha256:")
		case "leaving":
			c.leaving = append(c.leaving, value)
		case "frozen":
			name, _, _ := strings.Cut(value, " ")
			c.frozen = append(c.frozen, name)
		case "shards":
			if sharded = true; !shardsLine.MatchString(value) {
				return c, wrong(3, "%q is no number of shards", value)
			}
		case "notes":
			if name, _, _ := strings.Cut(value, " "); shard(name) == nil {
				return c, wrong(3, "the journal %s is not there", name)
			}
		case "time", "reason", "by", "pushing", "stranger", "guard":
		default:
			return c, wrong(6, "%q is no line of the header", line)
		}
	}
	sum := sha256.Sum256([]byte(blocks))
	if c.digest = hex.EncodeToString(sum[:]); c.digest != said {
		return c, wrong(3, "the digest is another than the header says")
	}
	if sharded {
		if blocks, err = c.included(blocks, shard); err != nil {
			return c, err
		}
		sum = sha256.Sum256([]byte(blocks))
		c.digest = hex.EncodeToString(sum[:])
	}
	c.upstream, err = readBlocks(blocks, known)
	return c, err
}

// included is what nginx makes of includes, in the order that the blocks would have in one file. Each shard has to be what
// it is called.
func (c *conf) included(text string, shard func(name string) []byte) (string, error) {
	var parts []string
	for line := range strings.Lines(text) {
		m := includeLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			return "", wrong(6, "%q includes no shard", line)
		}
		name := m[1] + ".conf"
		part := shard(name)
		if err := isShard(name, part); err != nil {
			return "", err
		}
		c.shards = append(c.shards, name)
		parts = append(parts, strings.Split(strings.TrimSuffix(string(part), "}\n"), "}\n\n")...)
	}
	slices.SortFunc(parts, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return strings.Join(parts, "}\n\n") + "}\n", nil
}

func isShard(name string, text []byte) error {
	sum := sha256.Sum256(text)
	if is := base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").EncodeToString(sum[:20]); text == nil || is+".conf" != name {
		return wrong(3, "shard %s is missing, or another one: %q", name, text)
	}
	return nil
}

func readBlocks(text string, known map[string]block) (map[string]block, error) {
	all := map[string]block{}
	if text == "" {
		return all, nil
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(text, "}\n"), "}\n\n") {
		b, is := known[part]
		if !is {
			var err error
			if b, err = readBlock(part); err != nil {
				return nil, err
			}
			known[part] = b
		}
		if _, twice := all[b.name]; twice {
			return nil, wrong(6, "upstream %s is there twice", b.name)
		}
		all[b.name] = b
	}
	return all, nil
}

func readBlock(text string) (b block, err error) {
	first, rest, _ := strings.Cut(strings.TrimSuffix(text, "\n"), "\n")
	head := upstreamLine.FindStringSubmatch(first)
	if head == nil {
		return b, wrong(6, "%q begins no upstream", first)
	}
	b.name = head[1]
	if rest == "" {
		return b, wrong(7, "upstream %s has no server", b.name)
	}
	for line := range strings.SplitSeq(rest, "\n") {
		if m := serverLine.FindStringSubmatch(line); m != nil {
			b.servers = append(b.servers, entry{addr: m[1], rest: m[2], down: m[3] != "", origin: m[4]})
		} else if m := optionLine.FindStringSubmatch(line); m != nil {
			b.options += m[1] + ";"
		} else if m := routeLine.FindStringSubmatch(line); m != nil {
			b.routes = append(b.routes, said{m[1], m[2]})
		} else {
			return b, wrong(6, "%q is no line of an upstream", line)
		}
	}
	if len(b.servers) == 0 {
		return b, wrong(7, "upstream %s has no server", b.name)
	}
	return b.sealed(), nil
}
