package page

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/reason"
	"swallowkeeper/status"
)

// English is for browsers that request none of our languages.
const english, chinese = reason.English, reason.Chinese

var languages = []string{english, chinese}

// table holds all texts of the page by key and language: text.json. The suffix "_one" of a language marks the text for
// {n} = 1.
type table map[string]map[string]string

// loadTexts parses the embedded table. A test checks it.
func loadTexts() table {
	var t table
	if err := json.Unmarshal(read("text.json"), &t); err != nil {
		panic(err)
	}
	return t
}

// in returns the texts of one language for the script. The suffix "_one" of a key marks the text for one thing.
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

// text fills in the blanks of a text. args are alternating names and values.
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
		return text, nil // most texts have no blanks, and a page has thousands
	}
	var pairs []string
	for i := 0; i+1 < len(args); i += 2 {
		pairs = append(pairs, fmt.Sprintf("{%v}", args[i]), fmt.Sprint(args[i+1]))
	}
	return strings.NewReplacer(pairs...).Replace(text), nil
}

// must is text for keys in the program, which a test checks.
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
		// known returns the text for a word of the API, or the word itself if the page has no text for it.
		"known": func(prefix, word string) string {
			if text, err := t.text(language, prefix+word); err == nil {
				return text
			}
			return word
		},
		// stamp and iso return no date for an unknown time.
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
		// wrong returns an error as it is and in plain words, if there are any.
		"wrong": func(text string, means reason.Reason) wrong { return wrong{cmp.Or(means.In(language), text), text} },
		"took":  took,
		"all":   func(name string) bool { return name == status.Everything },
		"said":  func(why reason.Reason) string { return why.In(language) },
		"join":  strings.Join,
	}
}

// chooseLanguage returns the language of ?lang=, or the one of ours that the browser prefers.
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
			liking, _ = strconv.ParseFloat(text, 64) // 0 if it is not a number
		}
		if slices.Contains(languages, tag) && liking > most {
			chosen, most = tag, liking
		}
	}
	return chosen
}

// htmlLanguage returns the language tag. The Chinese texts are in simplified characters.
func htmlLanguage(language string) string {
	if language == chinese {
		return "zh-Hans"
	}
	return language
}

// took formats a duration like the script.
func took(d time.Duration) string {
	switch ms := float64(d) / float64(time.Millisecond); {
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return fmt.Sprintf("%.1f s", ms/1000)
	}
}
