package persist

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

// The conf file of a sharded state is a manifest. Its header has the number of shards. An include for each shard that
// is not empty follows:
//
//	# digest: sha256:...
//	# shards: 128
//	# reason: changed web
//
//	include /var/lib/swallowkeeper/.dyups.upstream.conf.shards/2xyr4ng3bvvomakhdd6bqv6pmrxdvaqs.conf;
//
// A shard is named by its content and never changes. So the digest, which as in any conf file covers everything after
// the header, covers all upstreams, and the rename that replaces the manifest replaces all of them at once: nginx loads
// either the whole old state or the whole new one.
//
// In the history, which nginx never includes, only the header names the folder, and the shards are listed without it:
//
//	# shards: 128 in /var/lib/swallowkeeper/.dyups.upstream.conf.shards
//
//	2xyr4ng3bvvomakhdd6bqv6pmrxdvaqs.conf
const (
	shardsKey   = "# shards: "
	inFolder    = " in "
	shardSuffix = ".conf"
	includeWord = "include "
)

// digits encodes content names.
var digits = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// nameBytes is how many bytes of the SHA-256 a content name encodes.
const nameBytes = 20

// contentName returns the file name, without suffix, for a content.
func contentName(text []byte) string {
	sum := sha256.Sum256(text)
	return digits.EncodeToString(sum[:nameBytes])
}

// isContent reports whether a file name is a content name with the suffix.
func isContent(name, suffix string) bool {
	digest, is := strings.CutSuffix(name, suffix)
	if !is {
		return false
	}
	sum, err := digits.DecodeString(digest)
	return err == nil && len(sum) == nameBytes
}

// includable reports whether nginx takes a folder's path in an include literally: without glob characters, variables,
// or characters special to nginx.
func includable(folder string) bool {
	return !strings.ContainsAny(folder, "*?[]{}$;#'\"\\") && !strings.ContainsFunc(folder, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// appendIncludes appends the manifest's includes.
func appendIncludes(dst []byte, l *layout, folder string) []byte {
	for i := range l.shards {
		if digest := l.shards[i].digest; digest != "" {
			dst = append(append(append(append(dst, includeWord...), folder...), '/'), digest...)
			dst = append(dst, shardSuffix+";\n"...)
		}
	}
	return dst
}

// shortened converts includes to their form in the history; expanded converts them back.
func shortened(includes []byte, folder string) []byte {
	includes = bytes.ReplaceAll(includes, []byte(includeWord+folder+"/"), nil)
	return bytes.ReplaceAll(includes, []byte(";\n"), []byte{'\n'})
}

func expanded(names []byte, folder string) []byte {
	var includes []byte
	for name := range bytes.Lines(names) {
		includes = append(append(includes, includeWord+folder+"/"...), bytes.TrimSuffix(name, []byte{'\n'})...)
		includes = append(includes, ";\n"...)
	}
	return includes
}

// manifest is the parsed content of a manifest.
type manifest struct {
	list   []upstream.Upstream
	layout *layout // nil if we would shard differently
	edited bool
	is     []byte // the includes that the shards' content calls for
}

// readManifest parses what follows a manifest's header; line is the header's last line. Anything but an include of ours
// was added by hand.
func readManifest(text []byte, line, count int, from *shardReader) (m manifest, err error) {
	m.layout = &layout{shards: make([]shard, count)}
	ours := true // so far the shards are as we would write them
	var byHand []byte
	seen := map[upstream.Key]bool{}
	read := map[string]stored{}
	last := -1
	for _, part := range bytes.SplitAfter(text, []byte{'\n'}) {
		name, is := included(part)
		if !is {
			byHand = append(byHand, part...) // in place, so line numbers match
			continue
		}
		byHand = append(byHand, '\n')
		c, err := from.shard(name)
		if err != nil {
			return m, err
		}
		read[name] = c
		m.is = append(append(m.is, c.shard.digest...), '\n')
		m.edited = m.edited || c.shard.digest+shardSuffix != name
		at := m.layout.index(c.list[0].Name)
		for _, u := range c.list {
			if err := checkUnique(seen, u.Name); err != nil {
				return m, fmt.Errorf("%s: %w", from.path(name), err)
			}
			ours = ours && m.layout.index(u.Name) == at
		}
		ours = ours && at > last
		m.layout.shards[at], last = c.shard, at
		m.layout.size += c.shard.size
		m.list = append(m.list, c.list...)
	}
	if from != nil && from.shares {
		from.last = read
	}
	list, err := nginxconf.ParseBlocks(byHand)
	if bad := (*nginxconf.Error)(nil); errors.As(err, &bad) {
		return m, damaged(line+bad.Line, bad.Reason+", or an include of a shard")
	}
	for _, u := range list {
		if err := checkUnique(seen, u.Name); err != nil {
			return m, err
		}
	}
	if m.list = append(m.list, list...); !ours || m.edited || len(list) > 0 {
		m.layout = nil
	}
	return m, nil
}

func checkUnique(seen map[upstream.Key]bool, name string) error {
	key := upstream.KeyOf(name)
	if seen[key] {
		return fmt.Errorf("found upstream %s a second time: %w", name, errDamaged)
	}
	seen[key] = true
	return nil
}

// included returns the name of the shard that a line includes. Its folder is ignored: it is nginx's view, and we read
// from our own.
func included(line []byte) (name string, is bool) {
	path, is := strings.CutPrefix(strings.Trim(string(line), " \t\n"), includeWord)
	path, ended := strings.CutSuffix(path, ";")
	name = filepath.Base(strings.Trim(path, " \t"))
	return name, is && ended && isContent(name, shardSuffix)
}
