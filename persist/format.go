package persist

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

// The file is a header of comments, an empty line, and the blocks with empty lines
// between them:
//
//	# Written by swallowkeeper on gateway-1 (process 4711, K7QWXN2D): edits are lost. See docs/operation.md. Notes 34, with the guard's account.
//	# generation: 12
//	# time: 2026-01-02T03:04:05.6Z
//	# digest: sha256:...
//	# reason: added api; changed web
//	# by: alice: deploy 42
//	# frozen: web until 2026-01-02T05:00:00Z by alice: deploy 42
//	# leaving: old-service
//	# pushing: web
//	# stranger: legacy
//	# guard: sum 0011223344556677
//	# guard: all 0 40@2026-01-02T03:04:05.6Z
//
//	upstream web {
//	    # route shop.example/web/* strip=/web from=consul@127.0.0.1:8500
//	    server 10.0.0.1:80 weight=1 max_fails=3 fail_timeout=2s; # consul@127.0.0.1:8500
//	}
//
// The digest covers everything after the header's empty line. The guard's account has its own checksum and is read by
// package guard. The first line announces the account, so that losing all of it is noticed. The first line also counts
// how often the notes (everything from frozen on) were written. Older versions did not count, and wrote a base line
// instead of the account.
const (
	mark        = "# Written by swallowkeeper" // also how later versions recognize the file
	on          = " on "                       // before the writer, if any
	markEnd     = ": edits are lost. See docs/operation.md."
	counts      = " Notes "
	accountMark = ", with the guard's account"

	generationKey = "# generation: "
	timeKey       = "# time: "
	digestKey     = "# digest: sha256:"
	reasonKey     = "# reason: "
	byKey         = "# by: "
	baseKey       = "# base: "
	frozenKey     = "# frozen: "
	leavingKey    = "# leaving: "
	pushingKey    = "# pushing: "
	strangerKey   = "# stranger: "
	guardKey      = "# guard: "
)

// lostAccount replaces an account that is lost. The guard can't parse it, and so applies its strictest rules.
const lostAccount = "lost"

// ErrForeign is wrapped by the error for a file that swallowkeeper did not write.
var ErrForeign = errors.New("it was not written by swallowkeeper and is left alone: " +
	"move it away, or set persist.path to another file")

// errDamaged is wrapped by the error for one of our files that can't be read.
var errDamaged = errors.New("correct that, or move the file away")

func damaged(line int, reason string) error {
	return fmt.Errorf("line %d: %s: %w", line, reason, errDamaged)
}

// renderHeader renders a generation's header. shards is the manifest's shards line, "" for a single file. j is the
// journal that holds the notes; if it is nil, the notes go into the header.
func renderHeader(g generation.Generation, shards string, j *journal) []byte {
	dst := []byte(mark)
	if g.Writer != "" {
		dst = append(dst, on...)
		dst = append(dst, g.Writer...)
	}
	dst = append(dst, markEnd...)
	if g.Notes > 0 {
		dst = strconv.AppendInt(append(dst, counts...), int64(g.Notes), 10)
		if len(g.Guard) > 0 {
			dst = append(dst, accountMark...)
		}
		dst = append(dst, '.')
	}
	dst = append(dst, "\n"+generationKey...)
	dst = strconv.AppendInt(dst, int64(g.Number), 10)
	dst = append(dst, "\n"+timeKey...)
	dst = g.Time.AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, "\n"+digestKey...)
	dst = append(dst, g.Digest...)
	if shards != "" {
		dst = append(append(dst, "\n"+shardsKey...), shards...)
	}
	if !g.Reason.IsZero() {
		dst = append(dst, "\n"+reasonKey...)
		dst = append(dst, g.Reason.String()...)
	}
	if g.Signed != (generation.Signature{}) {
		dst = append(dst, "\n"+byKey...)
		dst = append(dst, g.Signed.String()...)
	}
	for _, f := range g.Frozen {
		dst = append(dst, "\n"+frozenKey...)
		dst = append(dst, f.Name.String()...)
		if !f.Until.IsZero() {
			dst = append(dst, until...)
			dst = f.Until.AppendFormat(dst, time.RFC3339Nano)
		}
		if f.Signed != (generation.Signature{}) {
			dst = append(dst, by...)
			dst = append(dst, f.Signed.String()...)
		}
	}
	if j != nil {
		dst = append(append(dst, "\n"+notesKey...), j.String()...)
	} else {
		for l := range linesOf(g) {
			dst = append(append(append(dst, '\n'), l.key...), l.text...)
		}
	}
	return append(dst, "\n\n"...)
}

// parse parses a file that is not empty, reading shards through from. It sets edited if the blocks do not match the
// header's digest.
func parse(text []byte, from *shardReader) (c contents, err error) {
	if !bytes.HasPrefix(text, []byte(mark)) {
		return c, ErrForeign
	}
	h := header{rest: text, from: from}
	blocks, err := h.read()
	if err != nil {
		return c, err
	}
	if h.folder != "" {
		blocks = expanded(blocks, h.folder)
	}
	is := digest(blocks)
	var m manifest
	if h.shards > 0 {
		m, err = readManifest(blocks, h.line, h.shards, from)
	} else {
		m.list, err = nginxconf.ParseBlocks(blocks)
		if bad := (*nginxconf.Error)(nil); errors.As(err, &bad) {
			err = damaged(h.line+bad.Line, bad.Reason)
		}
	}
	if err != nil {
		return c, err
	}
	if m.edited { // the includes themselves are unchanged
		is = digest(m.is)
	}
	c = contents{edited: m.edited || is != h.g.Digest, layout: m.layout, shards: h.shards, short: h.folder != "", journal: h.journal, lost: h.lost}
	if c.edited && len(m.list) == 0 {
		// It was more likely truncated after its header than emptied on purpose.
		return contents{}, damaged(h.line, "found no upstream although the header says there are some")
	}
	c.Generation = h.g
	c.Digest = is
	c.Set = upstream.NewSet(m.list)
	return c, nil
}

type header struct {
	rest       []byte
	line       int
	g          generation.Generation
	hasAccount bool // the first line announces the guard's account

	shards  int          // number of shards; 0: the blocks are in the file itself
	folder  string       // of the shards, if only the header names it
	from    *shardReader // reads the journal; nil: the journal is skipped
	journal *journal     // holds the notes; nil: they are in the file
	lost    error        // why the journal can't be read
}

// read parses the header and returns what follows it.
func (h *header) read() ([]byte, error) {
	first, err := h.next(mark)
	if err != nil {
		return nil, err
	}
	first, counted, _ := strings.Cut(first, markEnd)
	h.g.Writer, _ = strings.CutPrefix(first, on)
	if counted != "" {
		counted, h.hasAccount = strings.CutSuffix(strings.TrimSuffix(counted, "."), accountMark)
		number, _ := strings.CutPrefix(counted, counts)
		if h.g.Notes, err = strconv.Atoi(number); err != nil || h.g.Notes < 1 {
			return nil, damaged(h.line, fmt.Sprintf("found %q at the end, expected such as %q", counted, counts+"12."))
		}
	}
	number, err := h.next(generationKey)
	if err != nil {
		return nil, err
	}
	if h.g.Number, err = strconv.Atoi(number); err != nil || h.g.Number < 1 {
		return nil, damaged(h.line, fmt.Sprintf("found generation %q, expected a number from 1 on", number))
	}
	at, err := h.next(timeKey)
	if err != nil {
		return nil, err
	}
	if h.g.Time, err = time.Parse(time.RFC3339Nano, at); err != nil {
		return nil, damaged(h.line, fmt.Sprintf("found time %q, expected one such as 2026-01-02T03:04:05Z", at))
	}
	h.g.Time = h.g.Time.UTC()
	if h.g.Digest, err = h.next(digestKey); err != nil {
		return nil, err
	}
	if sum, err := hex.DecodeString(h.g.Digest); err != nil || len(sum) != sha256.Size {
		return nil, damaged(h.line, fmt.Sprintf("found digest %q, expected %d hex digits", h.g.Digest, 2*sha256.Size))
	}
	if bytes.HasPrefix(h.rest, []byte(shardsKey)) {
		count, err := h.next(shardsKey)
		if err != nil {
			return nil, err
		}
		count, h.folder, _ = strings.Cut(count, inFolder)
		if h.shards, err = strconv.Atoi(count); err != nil || h.shards < 1 || h.shards > maxShards {
			return nil, damaged(h.line, fmt.Sprintf("found %q shards, expected a number from 1 to %d", count, maxShards))
		}
	}
	if bytes.HasPrefix(h.rest, []byte(reasonKey)) {
		line, err := h.next(reasonKey)
		if err != nil {
			return nil, err
		}
		h.g.Reason = upstream.ReadReason(line)
	}
	if bytes.HasPrefix(h.rest, []byte(byKey)) {
		text, err := h.next(byKey)
		if err != nil {
			return nil, err
		}
		if h.g.Signed, err = h.signature(text); err != nil {
			return nil, err
		}
	}
	if bytes.HasPrefix(h.rest, []byte(baseKey)) {
		base, err := h.next(baseKey)
		if err != nil {
			return nil, err
		}
		if h.g.Base, err = strconv.Atoi(base); err != nil || h.g.Base < 1 {
			return nil, damaged(h.line, fmt.Sprintf("found base %q, expected a number from 1 on", base))
		}
	}
	if h.g.Frozen, err = h.freezes(); err != nil {
		return nil, err
	}
	if err := h.fetch(); err != nil {
		return nil, err
	}
	if h.g.Leaving, err = h.names(leavingKey); err != nil {
		return nil, err
	}
	if h.g.Pushing, err = h.names(pushingKey); err != nil {
		return nil, err
	}
	if h.g.Strangers, err = h.names(strangerKey); err != nil {
		return nil, err
	}
	for bytes.HasPrefix(h.rest, []byte(guardKey)) {
		line, err := h.next(guardKey)
		if err != nil {
			return nil, err
		}
		h.g.Guard = append(h.g.Guard, line)
	}
	if h.hasAccount && h.g.Guard == nil || h.lost != nil {
		h.g.Guard = []string{lostAccount}
	}
	if end, err := h.next(""); err != nil {
		return nil, err
	} else if end != "" {
		return nil, damaged(h.line, fmt.Sprintf("found %q, expected the empty line that ends the header", end))
	}
	return h.rest, nil
}

// fetch replaces the notes line with the journal's notes. If they are lost, so is the guard's account.
func (h *header) fetch() error {
	if !bytes.HasPrefix(h.rest, []byte(notesKey)) {
		return nil
	}
	ref, err := h.next(notesKey)
	if err != nil || h.from == nil {
		return err
	}
	text, name, info, err := readJournal(ref, h.from)
	if h.lost = err; err == nil {
		h.journal = &journal{name: name, ref: ref, info: info}
		h.rest = append(text, h.rest...)
	}
	return nil
}

// A freeze is written as its scope, then "until" and its end, then "by" and who ordered it.
const (
	until = " until "
	by    = " by "
)

func (h *header) signature(text string) (generation.Signature, error) {
	s, err := generation.ParseSignature(text)
	if err != nil {
		return s, damaged(h.line, fmt.Sprintf("found by %q: %s", text, err))
	}
	return s, nil
}

// freezes parses the lines of freezes.
func (h *header) freezes() ([]generation.Freeze, error) {
	var freezes []generation.Freeze
	for bytes.HasPrefix(h.rest, []byte(frozenKey)) {
		text, err := h.next(frozenKey)
		if err != nil {
			return nil, err
		}
		text, signature, signed := strings.Cut(text, by)
		name, end, ends := strings.Cut(text, until)
		var f generation.Freeze
		if f.Name, err = generation.ParseScope(name); err == nil {
			err = f.Name.Valid()
		}
		if err != nil {
			return nil, damaged(h.line, fmt.Sprintf("found frozen %q: %s", name, err))
		}
		if ends {
			if f.Until, err = time.Parse(time.RFC3339Nano, end); err != nil {
				return nil, damaged(h.line, fmt.Sprintf("found %q, expected a time such as 2026-01-02T03:04:05Z", end))
			}
			f.Until = f.Until.UTC()
		}
		if signed {
			if f.Signed, err = h.signature(signature); err != nil {
				return nil, err
			}
		}
		freezes = append(freezes, f)
	}
	return freezes, nil
}

// names parses the lines that begin with key; each names an upstream.
func (h *header) names(key string) ([]string, error) {
	var names []string
	for bytes.HasPrefix(h.rest, []byte(key)) {
		name, err := h.next(key)
		if err != nil {
			return nil, err
		}
		if err := upstream.ValidName(name); err != nil {
			return nil, damaged(h.line, fmt.Sprintf("found %s %q: %s", strings.Trim(key, "#: "), name, err))
		}
		names = append(names, name)
	}
	return names, nil
}

// next consumes a line, which must begin with key, and returns the rest of it.
func (h *header) next(key string) (string, error) {
	line, rest, ended := bytes.Cut(h.rest, []byte{'\n'})
	h.line++
	if !ended {
		return "", damaged(h.line, "the file ends within its header")
	}
	value, ok := strings.CutPrefix(string(line), key)
	if !ok {
		return "", damaged(h.line, fmt.Sprintf("found %q, expected %q", line, key))
	}
	h.rest = rest
	return value, nil
}
