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

	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

// The file is a header of comments, an empty line, and the blocks with empty lines
// between them:
//
//	# Written by swallowkeeper on gateway-1 (process 4711): edits are lost. See docs/operation.md.
//	# generation: 12
//	# time: 2026-01-02T03:04:05.6Z
//	# digest: sha256:...
//	# reason: 2 added, 0 updated, 0 removed
//	# by: alice: deploy 42
//	# frozen: web until 2026-01-02T05:00:00Z by alice: deploy 42
//	# leaving: old-service
//	# pushing: web
//	# stranger: legacy
//	# guard: sum 0011223344556677
//	# guard: all 0 40@2026-01-02T03:04:05.6Z
//
//	upstream web {
//	    server 10.0.0.1:80 weight=1 max_fails=3 fail_timeout=2s; # consul@127.0.0.1:8500
//	}
//
// The digest is of all behind the header's empty line. What the guard remembers has a digest of its own, and is
// read by package guard. Older versions wrote a line base in place of it.
const (
	mark   = "# Written by swallowkeeper" // by which later versions know the file too
	on     = " on "                       // before the writer, where one is named
	behind = ": edits are lost. See docs/operation.md."

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

// ErrForeign is the cause of the error for a file that swallowkeeper did not write.
var ErrForeign = errors.New("it was not written by swallowkeeper and is left alone: " +
	"move it away, or set persist.path to another file")

// errDamaged is the cause of the error for a file of ours that can't be read.
var errDamaged = errors.New("correct that, or move the file away")

func damaged(line int, reason string) error {
	return fmt.Errorf("line %d: %s: %w", line, reason, errDamaged)
}

func renderHeader(g upstream.Generation) []byte {
	dst := []byte(mark)
	if g.Writer != "" {
		dst = append(dst, on...)
		dst = append(dst, g.Writer...)
	}
	dst = append(dst, behind...)
	dst = append(dst, "\n"+generationKey...)
	dst = strconv.AppendInt(dst, int64(g.Number), 10)
	dst = append(dst, "\n"+timeKey...)
	dst = g.Time.AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, "\n"+digestKey...)
	dst = append(dst, g.Digest...)
	if g.Reason != "" {
		dst = append(dst, "\n"+reasonKey...)
		dst = append(dst, g.Reason...)
	}
	if g.Signed != (upstream.Signature{}) {
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
		if f.Signed != (upstream.Signature{}) {
			dst = append(dst, by...)
			dst = append(dst, f.Signed.String()...)
		}
	}
	for _, name := range g.Leaving {
		dst = append(dst, "\n"+leavingKey...)
		dst = append(dst, name...)
	}
	for _, name := range g.Pushing {
		dst = append(dst, "\n"+pushingKey...)
		dst = append(dst, name...)
	}
	for _, name := range g.Strangers {
		dst = append(dst, "\n"+strangerKey...)
		dst = append(dst, name...)
	}
	for _, line := range g.Guard {
		dst = append(dst, "\n"+guardKey...)
		dst = append(dst, line...)
	}
	return append(dst, "\n\n"...)
}

// parse reads a file that is not empty. edited says that the blocks are not those that
// the header's digest is of.
func parse(text []byte) (g upstream.Generation, edited bool, err error) {
	if !bytes.HasPrefix(text, []byte(mark)) {
		return upstream.Generation{}, false, ErrForeign
	}
	h := header{rest: text}
	blocks, err := h.read()
	if err != nil {
		return upstream.Generation{}, false, err
	}
	list, err := nginxconf.ParseBlocks(blocks)
	if err != nil {
		if bad := (*nginxconf.Error)(nil); errors.As(err, &bad) {
			return upstream.Generation{}, false, damaged(h.line+bad.Line, bad.Reason)
		}
		return upstream.Generation{}, false, err
	}
	is := digest(blocks)
	edited = is != h.g.Digest
	if edited && len(list) == 0 {
		// Cut off behind its header, more likely than emptied on purpose.
		return upstream.Generation{}, false, damaged(h.line, "found no upstream although the header says there are some")
	}
	h.g.Digest = is
	h.g.Set = upstream.NewSet(list)
	return h.g, edited, nil
}

type header struct {
	rest []byte
	line int
	g    upstream.Generation
}

// read reads the header and returns what stands behind it.
func (h *header) read() ([]byte, error) {
	first, err := h.next(mark)
	if err != nil {
		return nil, err
	}
	if writer, named := strings.CutPrefix(first, on); named {
		h.g.Writer, _ = strings.CutSuffix(writer, behind)
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
	if bytes.HasPrefix(h.rest, []byte(reasonKey)) {
		if h.g.Reason, err = h.next(reasonKey); err != nil {
			return nil, err
		}
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
	if end, err := h.next(""); err != nil {
		return nil, err
	} else if end != "" {
		return nil, damaged(h.line, fmt.Sprintf("found %q, expected the empty line that ends the header", end))
	}
	return h.rest, nil
}

// How a freeze is written: its scope, until before its end, by before the one whose order it was.
const (
	until = " until "
	by    = " by "
)

func (h *header) signature(text string) (upstream.Signature, error) {
	s, err := upstream.ParseSignature(text)
	if err != nil {
		return s, damaged(h.line, fmt.Sprintf("found by %q: %s", text, err))
	}
	return s, nil
}

// freezes reads the freezes.
func (h *header) freezes() ([]upstream.Freeze, error) {
	var freezes []upstream.Freeze
	for bytes.HasPrefix(h.rest, []byte(frozenKey)) {
		text, err := h.next(frozenKey)
		if err != nil {
			return nil, err
		}
		text, signature, signed := strings.Cut(text, by)
		name, end, ends := strings.Cut(text, until)
		var f upstream.Freeze
		if f.Name, err = upstream.ParseScope(name); err == nil {
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

// names reads the names of upstreams on lines that begin with the key.
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

// next is the rest of the next line behind what it must begin with.
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
