package page_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"swallowkeeper/status/page"
)

func TestWhatTheDaemonSaysInChinese(t *testing.T) {
	for said, want := range map[string]string{
		`check "http" is critical`:                                                                                                  `检查 "http" 为 critical`,
		`check "disk" of node n1 is critical`:                                                                                       `节点 n1 的检查 "disk" 为 critical`,
		`node n1 is in maintenance: "kernel update"`:                                                                                `节点 n1 处于维护模式："kernel update"`,
		`10.0.0.1:80 gets no traffic any more of web`:                                                                               `10.0.0.1:80 不再承接 web 的流量`,
		`changed a, b, c, 2 more; removed d`:                                                                                        `变更 a, b, c, 2 more; 移除 d`,
		`check "a" is warning, which health = "warning" takes; tag "gray=b" puts it here`:                                           `检查 "a" 为 warning，health = "warning" 允许接入; 标签 "gray=b" 将它归入此处`,
		`check "http" is critical: it is kept in traffic all the same`:                                                              `检查 "http" 为 critical：但仍保留其流量`,
		`its registry lists it (check "http" is passing), but the guard holds everything`:                                           `注册中心列出了它（检查 "http" 通过），但保护规则拦截了全部变更`,
		`registry consul: Get "http://127.0.0.1:1": connection refused`:                                                             `注册中心 consul：Get "http://127.0.0.1:1": connection refused`,
		`3 of 4 servers would go, max_removal allows 50%: removals are held`:                                                        `4 台服务器中有 3 台将被移除，max_removal 只允许 50%：移除已拦截`,
		`4 of 5 servers would go, max_removal allows 50%: removals are held; 3 of 4 still accept connections; 1 could not be tried`: `5 台服务器中有 4 台将被移除，max_removal 只允许 50%：移除已拦截; 4 台中仍有 3 台接受连接; 1 台未能探测`,
		`none of 34 servers answers from here: they go, though max_removal would hold them`:                                         `从本机探测，34 台服务器均无应答：虽然 max_removal 会拦截，仍予移除`,
		`check "a; registry b: c" is critical`:                                                                                      `检查 "a; registry b: c" 为 critical`, // no name is changed
		"what nobody has heard":                                                                                                     "what nobody has heard",
		"":                                                                                                                          "",
		strings.Repeat("registry a: ", 100) + "no":                                                                                  strings.Repeat("注册中心 a：", 8) + strings.Repeat("registry a: ", 92) + "no",
	} {
		if got := page.Said(said); got != want {
			t.Errorf("%q is\n%q, want\n%q", said, got, want)
		}
	}
}

// TestPhrases has every phrase found, by itself and by no other before it, and be whole in Chinese.
func TestPhrases(t *testing.T) {
	var list []struct{ En, Zh string }
	if err := json.Unmarshal(readFile(t, "said.json"), &list); err != nil {
		t.Fatal(err)
	}
	blanks := regexp.MustCompile(`\{[^}]*\}`)
	for i, sample := range page.Samples() {
		if got := page.Said(sample[0]); got != sample[1] {
			t.Errorf("%q is %q, want %q", sample[0], got, sample[1])
		}
		en, zh := blanks.FindAllString(list[i].En, -1), blanks.FindAllString(list[i].Zh, -1)
		slices.Sort(en)
		slices.Sort(zh)
		if !slices.Equal(en, zh) || len(slices.Compact(en)) != len(zh) {
			t.Errorf("%q has %v, and in Chinese %v", list[i].En, en, zh)
		}
		if !regexp.MustCompile(`\p{Han}|=|;`).MatchString(list[i].Zh) {
			t.Errorf("%q is not in Chinese: %q", list[i].En, list[i].Zh)
		}
	}
}

// notShown are texts that the sources below have for others than the page.
var notShown = []string{
	// what an order is answered with
	"not possible now", "there is none", "the daemon is busy", "the daemon has the order and has not carried it out yet",
	"nothing is held", "what is held is", "the change is another meanwhile, and held as", "nothing was written yet", "freeze upstream",
	"frozen now", "not known", "no hold", "held now", "can't be frozen: nothing was written yet", "is not in the conf file",
	"it is the present one: nothing is changed and nothing is frozen", "it is not frozen", "unfreeze", "canary", "a person approved the hold: the change goes through", "a person",
	// what the log or an error of reading says
	"the hold's time is up: the change goes through", "what the guard remembers is not written: a restart begins without it",
	"another process wrote a newer generation", "read what is live", "the gateway is", "the gateway took", "read the list of services", "read the health of service", "host names are not looked up here", "confirm that",
}

// TestEveryReasonHasAPhrase finds a reason or an event that was added or worded anew, and not in Chinese.
func TestEveryReasonHasAPhrase(t *testing.T) {
	var list []struct{ En string }
	if err := json.Unmarshal(readFile(t, "said.json"), &list); err != nil {
		t.Fatal(err)
	}
	var known strings.Builder
	for _, p := range list {
		known.WriteString("\n" + regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(p.En, "\x00"))
	}
	verb := regexp.MustCompile(`%[a-z%]|"`)
	var kinds []string
	for _, name := range []string{"convert.go", "meta.go", "explain.go"} { // where a kind has its reasons
		for _, folder := range []string{"registry", "gateway"} {
			found, err := filepath.Glob(filepath.Join("..", "..", folder, "*", name))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range found {
				kinds = append(kinds, strings.TrimPrefix(filepath.ToSlash(file), "../../"))
			}
		}
	}
	for _, file := range append(kinds,
		"guard/guard.go", "guard/removal.go", "guard/recovery.go", "guard/growth.go", "guard/damping.go", "guard/witness.go",
		"guard/accept.go", "syncer/delivery.go", "syncer/event.go", "syncer/freeze.go", "syncer/judge.go", "syncer/order.go", "upstream/merge.go", "operate/show.go",
	) {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", filepath.FromSlash(file)), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			text, is := n.(*ast.BasicLit)
			if !is || text.Kind != token.STRING {
				return true
			}
			said, err := strconv.Unquote(text.Value)
			if err != nil || !strings.Contains(said, " ") {
				return true
			}
			for _, part := range verb.Split(said, -1) {
				part = strings.Trim(part, " :,;()=")
				if len(part) < 4 || strings.Contains(known.String(), part) ||
					slices.ContainsFunc(notShown, func(s string) bool { return strings.Contains(s, part) || strings.HasPrefix(part, s) }) {
					continue
				}
				t.Errorf("%s says %q, and no phrase has %q", file, said, part)
			}
			return true
		})
	}
}
