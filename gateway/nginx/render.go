package nginx

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// Names of a generation's files.
const (
	upstreamFile = ".upstream.conf"
	locationFile = ".location.conf"
	answerFile   = "generation" + locationFile
)

// generationPath is where nginx returns the generation of a worker.
const generationPath = "/.swallowkeeper/generation"

// mark begins each generation's answerFile. A folder without it is not ours.
const mark = "# Written by swallowkeeper: generation "

// file is a file of a generation.
type file struct {
	path string // relative to the generation
	text []byte
	of   string // its upstream
}

// rendered is a rendered set.
type rendered struct {
	set    upstream.Set
	files  []file // ordered by path
	digest string
}

// render renders a set: its upstreams, unless another gateway sends their servers, and its routes. An upstream that
// nginx could not load is an error.
func render(set upstream.Set, servers string) (rendered, error) {
	r := rendered{set: set, files: make([]file, 0, set.Len())}
	if servers == byReload {
		for u := range set.All() {
			if err := nginxconf.Valid(u); err != nil {
				return rendered{}, &refusal{name: u.Name, err: fmt.Errorf("upstream %s: %w", u.Name, err)}
			}
			r.files = append(r.files, file{path: fileName(u.Name) + upstreamFile, text: nginxconf.AppendBlock(nil, u), of: u.Name})
		}
	} else if set.RouteCount() > 0 {
		r.files = append(r.files, file{path: routesFile, text: listRoutes(set)})
	}
	more, err := locations(set, servers == byDyups)
	if err != nil {
		return rendered{}, err
	}
	r.files = append(r.files, more...)
	slices.SortFunc(r.files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	r.digest = digestOf(r.files)
	return r, nil
}

// routesFile has the routes if no file has the upstreams. nginx does not read it.
const routesFile = "routes.txt"

func listRoutes(set upstream.Set) []byte {
	var text []byte
	for u := range set.All() {
		for _, r := range u.Routes {
			text = fmt.Appendf(text, "%s %s\n", u.Name, r.Text())
		}
	}
	return text
}

// readRoutes reads them back, as upstreams with one placeholder server.
func readRoutes(text []byte) (list []upstream.Upstream, ok bool) {
	for line := range strings.Lines(string(text)) {
		name, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		r, err := route.ParseText(text, name)
		if err != nil || upstream.ValidName(name) != nil {
			return list, false
		}
		if n := len(list); n == 0 || list[n-1].Name != name {
			list = append(list, upstream.Upstream{Name: name, Servers: []upstream.Server{{}}})
		}
		last := &list[len(list)-1]
		last.Routes = append(last.Routes, r)
	}
	return list, true
}

// longestName leaves room for the rest of a file name: file systems allow 255 bytes.
const longestName = 200

// fileName returns the file name prefix of an upstream. Names of upstreams contain no tilde, so file names never
// collide, not even with the answerFile.
func fileName(name string) string {
	if len(name) <= longestName && !strings.EqualFold(name+locationFile, answerFile) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:min(len(name), longestName)] + "~" + hex.EncodeToString(sum[:8])
}

// digestOf returns the digest that identifies a generation.
func digestOf(files []file) string {
	h := sha256.New()
	var length []byte
	for _, f := range files {
		for _, part := range [][]byte{[]byte(f.path), f.text} {
			length = binary.BigEndian.AppendUint64(length[:0], uint64(len(part)))
			h.Write(length)
			h.Write(part)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// answer returns the location that reports a generation by its digest.
func answer(n int, digest string) []byte {
	return fmt.Appendf(nil, "%s%d. It is replaced by the next.\n"+
		"location = %s {\n    access_log off;\n    default_type text/plain;\n    return 200 \"$pid %s\\n\";\n}\n",
		mark, n, generationPath, digest)
}

// digestIn returns the digest in an answerFile, or "" if it is not ours.
func digestIn(text []byte) string {
	if !strings.HasPrefix(string(text), mark) {
		return ""
	}
	_, rest, _ := strings.Cut(string(text), `return 200 "$pid `)
	digest, _, _ := strings.Cut(rest, `\n";`)
	if !isDigest(digest) {
		return ""
	}
	return digest
}

func isDigest(s string) bool { return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == "" }

// parse reads the files back. If anything differs from what was written, whole is false.
func parse(files []file, digest string) (set upstream.Set, whole bool) {
	whole = digestOf(files) == digest
	var list []upstream.Upstream
	for _, f := range files {
		if f.path == routesFile {
			read, ok := readRoutes(f.text)
			list, whole = append(list, read...), whole && ok
		}
		name, is := strings.CutSuffix(f.path, upstreamFile)
		if !is || f.path == mapFile {
			continue
		}
		blocks, err := nginxconf.ParseBlocks(f.text)
		if err != nil || len(blocks) != 1 {
			whole = false
			if upstream.ValidName(name) == nil {
				list = append(list, upstream.Upstream{Name: name})
			}
			continue
		}
		list = append(list, blocks[0])
	}
	return upstream.NewSet(list), whole
}
