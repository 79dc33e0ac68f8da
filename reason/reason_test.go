package reason_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"swallowkeeper/reason"
)

var (
	over  = reason.New("over", "{n} of {all} servers would go, {rule} allows {share}", "{all} 台服务器中有 {n} 台将被移除，{rule} 只允许 {share}")
	kept  = reason.New("kept", "{why}: it is kept", "{why}：仍保留")
	plain = reason.New("plain", "it is frozen", "它已冻结")
	check = reason.New("check", "check {name} is critical", "检查 {name} 为 critical")
)

func TestReason(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		what         string
		r            reason.Reason
		en, zh, code string
	}{
		{"none", reason.Reason{}, "", "", ""},
		{"an empty text", reason.Text(""), "", "", ""},
		{"a text", reason.Text("connection refused"), "connection refused", "connection refused", ""},
		{"without blanks", plain.With(), "it is frozen", "它已冻结", "plain"},
		{"in another order", over.With(3, 4, "max_removal", "50%"), "3 of 4 servers would go, max_removal allows 50%", "4 台服务器中有 3 台将被移除，max_removal 只允许 50%", "over"},
		{"one within another", kept.With(check.With(`"http"`)), `check "http" is critical: it is kept`, `检查 "http" 为 critical：仍保留`, "kept"},
		{"deep", kept.With(kept.With(kept.With(plain.With()))), "it is frozen: it is kept: it is kept: it is kept", "它已冻结：仍保留：仍保留：仍保留", "kept"},
		{"several", reason.Join(plain.With(), reason.Reason{}, check.With("a")), "it is frozen; check a is critical", "它已冻结; 检查 a 为 critical", "plain"},
		{"several of several", kept.With(reason.Join(reason.Join(plain.With(), plain.With()), reason.Text("x"))), "it is frozen; it is frozen; x: it is kept", "它已冻结; 它已冻结; x：仍保留", "kept"},
		{"one of several", reason.Join(reason.Reason{}, plain.With()), "it is frozen", "它已冻结", "plain"},
		{"none of several", reason.Join(reason.Reason{}, reason.Reason{}), "", "", ""},
		{"an error", kept.With(errors.New("no route")), "no route: it is kept", "no route：仍保留", "kept"},
		{"an error with a reason", kept.With(plain.Err()), "it is frozen: it is kept", "它已冻结：仍保留", "kept"},
		{"an address", check.With(netip.MustParseAddr("10.0.0.1")), "check 10.0.0.1 is critical", "检查 10.0.0.1 为 critical", "check"},
		{"a blank that is empty", check.With(""), "check  is critical", "检查  为 critical", "check"},
		{"no argument, by mistake", check.With(), "check  is critical", "检查  为 critical", "check"},

		{"braces", check.With("{name} {rule} {{.}}"), "check {name} {rule} {{.}} is critical", "检查 {name} {rule} {{.}} 为 critical", "check"},
		{"what looks like several", check.With(`a; it is frozen; b`), "check a; it is frozen; b is critical", "检查 a; it is frozen; b 为 critical", "check"},
		{"what looks encoded", check.With("plain 3::x +"), "check plain 3::x + is critical", "检查 plain 3::x + 为 critical", "check"},
		{"a text that looks encoded", reason.Text("plain"), "plain", "plain", ""},
		{"a text that looks like several", reason.Text("+ 6:plain 6:plain"), "+ 6:plain 6:plain", "+ 6:plain 6:plain", ""},
		{"a text in a reason that looks encoded", kept.With(": 99:plain"), ": 99:plain: it is kept", ": 99:plain：仍保留", "kept"},
		{"control characters", check.With("\x1b[2J\r\n\x00\u202e\xff"), `check \x1b[2J\r\n\x00\u202e\xff is critical`, `检查 \x1b[2J\r\n\x00\u202e\xff 为 critical`, "check"},
		{"a text of them", reason.Text("a\nb\x07"), `a\nb\a`, `a\nb\a`, ""},
		{"very long", kept.With(check.With(long)), "check " + long + " is critical: it is kept", "检查 " + long + " 为 critical：仍保留", "kept"},
	} {
		if got := c.r.String(); got != c.en {
			t.Errorf("%s is %.200q, want %.200q", c.what, got, c.en)
		}
		if got := c.r.In(reason.Chinese); got != c.zh {
			t.Errorf("%s is %.200q in Chinese, want %.200q", c.what, got, c.zh)
		}
		if got := c.r.In("fr"); got != c.en {
			t.Errorf("%s is %.200q in an unknown language", c.what, got)
		}
		if got := c.r.Code(); got != c.code {
			t.Errorf("%s has the code %q, want %q", c.what, got, c.code)
		}
		if got := c.r.IsZero(); got != (c.en == "") {
			t.Errorf("%s: none: %v", c.what, got)
		}
		text, err := json.Marshal(map[string]reason.Reason{"r": c.r})
		var back map[string]reason.Reason
		if err = errors.Join(err, json.Unmarshal(text, &back)); err != nil || back["r"].In(reason.Chinese) != c.en || back["r"].Code() != "" {
			t.Errorf("%s comes back as %.200q, %v", c.what, back["r"], err)
		}
	}
}

// What is equal says the same, and says it in the same way: so reasons can be compared, and be keys.
func TestEqualReasons(t *testing.T) {
	for _, same := range [][2]reason.Reason{
		{check.With("a"), check.With("a")}, {check.With(1), check.With("1")}, {plain.With(), plain.With()}, {kept.With(plain.Err()), kept.With(plain.With())},
	} {
		if same[0] != same[1] {
			t.Errorf("%q is not %q", same[0], same[1])
		}
	}
	different := []reason.Reason{
		{},
		plain.With(), check.With("a"), check.With("b"), kept.With("check a is critical"), kept.With(check.With("a")), reason.Text("plain"),
		reason.Text("it is frozen"), over.With("1", "23", "", ""), over.With("12", "3", "", ""), reason.Join(plain.With(), plain.With()),
	}
	for i, a := range different {
		for j, b := range different {
			if (a == b) != (i == j) || (a.Compare(b) == 0) != (i == j) || a.Compare(b) != -b.Compare(a) {
				t.Errorf("%q and %q: %v, %d", a, b, a == b, a.Compare(b))
			}
		}
	}
}

func TestErrors(t *testing.T) {
	err := check.Err("a")
	if err.Error() != "check a is critical" || reason.Of(err) != check.With("a") {
		t.Errorf("%v, %v", err, reason.Of(err))
	}
	// The words around it are not to be lost.
	if got := reason.Of(fmt.Errorf("server 10.0.0.1:80: %w", err)); got != reason.Text("server 10.0.0.1:80: check a is critical") {
		t.Errorf("wrapped it is %q", got)
	}
	if reason.Text("").Err() != nil || !reason.Of(nil).IsZero() {
		t.Error("nothing is an error")
	}
}

func TestArguments(t *testing.T) {
	if args, is := kept.Of(kept.With(check.With("a"))); !is || len(args) != 1 || args[0] != check.With("a") {
		t.Errorf("%v, %v", args, is)
	}
	if args, is := plain.Of(plain.With()); !is || len(args) != 0 {
		t.Errorf("%v, %v", args, is)
	}
	for _, r := range []reason.Reason{{}, plain.With(), reason.Text("kept"), reason.Join(kept.With("a"), kept.With("b"))} {
		if args, is := kept.Of(r); is {
			t.Errorf("%q is one, of %v", r, args)
		}
	}
}

func TestMistakesInThePhrasesAreFound(t *testing.T) {
	before := len(reason.All())
	for what, declare := range map[string]func(){
		"a code twice":               func() { reason.New("plain", "again", "再次") },
		"a blank too few in Chinese": func() { reason.New("few", "{a} and {b}", "{a} 和") },
		"another blank in Chinese":   func() { reason.New("other", "{a} and {b}", "{a} 和 {c}") },
		"one too many in Chinese":    func() { reason.New("many", "{a}", "{a} 和 {c}") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s is taken", what)
				}
			}()
			declare()
		}()
	}
	if n := len(reason.All()); n != before {
		t.Errorf("there are %d phrases, and there were %d", n, before)
	}
}
