package page

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/status"
)

// English is what those read whose browser asks for no language that there is.
const english, chinese = "en", "zh"

var languages = []string{english, chinese}

// table holds every text of the page by its key, in each language: text.json. A key with "_one" beside
// a language is the text where {n} is 1.
type table map[string]map[string]string

// loadTexts reads the embedded table, which a test has made sure of.
func loadTexts() table {
	var t table
	if err := json.Unmarshal(read("text.json"), &t); err != nil {
		panic(err)
	}
	return t
}

// in returns the texts of one language for the script; that for one thing has the key's name with "_one".
func (t table) in(language string) map[string]string {
	texts := make(map[string]string, len(t))
	for key, by := range t {
		texts[key] = by[language]
		if one, ok := by[language+"_one"]; ok {
			texts[key+"_one"] = one
		}
	}
	return texts
}

// text fills in what a text has in braces: names and values take turns.
func (t table) text(language, key string, args ...any) (string, error) {
	by, ok := t[key]
	if !ok {
		return "", fmt.Errorf("page: no text %q", key)
	}
	text := by[language]
	for i := 0; i+1 < len(args); i += 2 {
		if one, ok := by[language+"_one"]; ok && args[i] == "n" && args[i+1] == 1 {
			text = one
		}
	}
	if len(args) == 0 {
		return text, nil // most have no braces, and there are thousands on a page
	}
	var pairs []string
	for i := 0; i+1 < len(args); i += 2 {
		pairs = append(pairs, fmt.Sprintf("{%v}", args[i]), fmt.Sprint(args[i+1]))
	}
	return strings.NewReplacer(pairs...).Replace(text), nil
}

// must is text where the key is one of the program's own, which a test has made sure of.
func (t table) must(language, key string, args ...any) string {
	text, err := t.text(language, key, args...)
	if err != nil {
		panic(err)
	}
	return text
}

func (t table) funcs(language string) template.FuncMap {
	return template.FuncMap{
		"t": func(key string, args ...any) (string, error) { return t.text(language, key, args...) },
		// known is the text for a word of the API, or the word itself where the page has none for it.
		"known": func(prefix, word string) string {
			if text, err := t.text(language, prefix+word); err == nil {
				return text
			}
			return word
		},
		// stamp never shows a time that is not known, and iso has none for the script.
		"stamp": func(at time.Time) string {
			if at.IsZero() {
				return t.must(language, "unknown_time")
			}
			return at.UTC().Format("2006-01-02 15:04:05 UTC")
		},
		"iso": func(at time.Time) string {
			if at.IsZero() {
				return ""
			}
			return at.UTC().Format(time.RFC3339)
		},
		"all":  func(name string) bool { return name == status.Everything },
		"join": strings.Join,
	}
}

// chooseLanguage takes the language that is asked for with ?lang=, or of those that the page has the
// one that the browser likes most.
func chooseLanguage(r *http.Request) string {
	if asked := r.URL.Query().Get("lang"); slices.Contains(languages, asked) {
		return asked
	}
	chosen, most := english, 0.0
	for part := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, weight, weighed := strings.Cut(part, ";")
		tag, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		liking := 1.0
		if text, is := strings.CutPrefix(strings.TrimSpace(weight), "q="); weighed && is {
			liking, _ = strconv.ParseFloat(text, 64) // what is no number is 0
		}
		if slices.Contains(languages, tag) && liking > most {
			chosen, most = tag, liking
		}
	}
	return chosen
}

// htmlLanguage is the language's tag: the Chinese here is in simplified characters.
func htmlLanguage(language string) string {
	if language == chinese {
		return "zh-Hans"
	}
	return language
}
