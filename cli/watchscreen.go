package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// onTerminal shows the screen until the context ends or the user presses q.
func (w *watcher) onTerminal(ctx context.Context) error {
	options := []tea.ProgramOption{
		tea.WithOutput(w.stdout), tea.WithEnvironment(w.env), tea.WithoutSignalHandler(), tea.WithInput(nil),
	}
	if isTerminal(os.Stdin) {
		options = append(options, tea.WithInput(os.Stdin))
	}
	p := tea.NewProgram(picture{w}, options...)
	defer context.AfterFunc(ctx, p.Quit)()

	following, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.follow(following, func(what any) { p.Send(what) })
	}()
	_, err := p.Run()
	stop()
	<-ended
	if err != nil {
		return fmt.Errorf("show it on the terminal: %w", err)
	}
	return nil
}

// picture is the watcher as a tea.Model.
type picture struct{ *watcher }

// Init implements tea.Model.
func (p picture) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (p picture) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		p.width, p.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		switch msg.String() {
		case "q", "esc", "ctrl+c":
			return p, tea.Quit
		case "up", "k":
			p.up++
		case "down", "j":
			p.up--
		case "pgup", "b":
			p.up += p.page()
		case "pgdown", "space", "f":
			p.up -= p.page()
		case "home", "g":
			p.up = len(p.all())
		case "end", "G":
			p.up = 0
		}
	default:
		before := len(p.all())
		p.take(msg)
		if p.up > 0 { // keep the scroll position of the reader
			p.up += len(p.all()) - before
		}
	}
	if p.up != 0 {
		p.up = max(0, min(p.up, len(p.all())-p.page()))
	}
	return p, nil
}

// View implements tea.Model.
func (p picture) View() tea.View {
	lines := p.picture(p.page())
	if p.up > 0 {
		all := p.all()
		end := len(all) - p.up
		lines = all[max(0, end-p.page()):end]
	}
	if p.page() < p.height {
		for len(lines) < p.page() {
			lines = append(lines, "")
		}
		keys := "q ends, the arrow keys and Page Up scroll"
		if p.up > 0 {
			keys = fmt.Sprintf("%d more below: End goes there, q ends", p.up)
		}
		lines = append(lines, ansi.Truncate(p.c.name(keys), p.width, ""))
	}
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	return v
}

// leastForKeys is the minimum height for a last line with the keys.
const leastForKeys = 10

// page returns the number of lines for the content.
func (w *watcher) page() int {
	if w.height >= leastForKeys {
		return w.height - 1
	}
	return w.height
}

// all returns everything that can be scrolled through: the whole status, then the events.
func (w *watcher) all() []string {
	return slices.Concat(w.head(0), []string{""}, w.wrap(w.tail))
}

// leastTail is how many recent events are always shown, if there are any.
const leastTail = 4

// picture returns the status and the recent events, in height lines. If they do not fit, what a hold keeps is cut
// first, then the end of the status.
func (w *watcher) picture(height int) []string {
	rows := w.wrap(w.tail[max(0, len(w.tail)-height):])
	head := w.head(0)
	if over := len(head) + 1 + min(len(rows), leastTail) - height; over > 0 {
		head = w.head(min(over+1, mostStaying-1)) // one more line, for the number of those left out
	}
	room := max(0, height-1-min(len(rows), leastTail))
	head = head[:min(len(head), room)]
	tail := max(0, min(len(rows), height-1-len(head)))
	return append(append(head, ""), rows[len(rows)-tail:]...)
}

// head returns the status as lines, with fewer lines of a hold.
func (w *watcher) head(fewer int) []string {
	var text strings.Builder
	to := *w.operator
	p := *w.program
	p.stdout = &text
	to.program, to.fewer = &p, fewer
	if w.lost != "" {
		to.say("%s", w.c.bad(w.lost))
	}
	to.printStatus(*w.last)
	return w.wrap(strings.Split(strings.TrimRight(text.String(), "\n"), "\n"))
}

// wrap breaks lines at the width of the terminal.
func (w *watcher) wrap(lines []string) []string {
	if w.width <= 0 {
		return slices.Clone(lines)
	}
	var rows []string
	for _, l := range lines {
		rows = append(rows, strings.Split(ansi.Wrap(l, w.width, ""), "\n")...)
	}
	return rows
}
