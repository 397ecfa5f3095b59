package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"cofferdam/supervisor"
)

// ascent shows how an application comes up. On a terminal that is some lines which are drawn
// again and again, and go away in the end; elsewhere a line each second, if it takes that long; and with a
// format of JSON a line for each change.
//
// Whatever else is printed meanwhile passes [ascent.around], so that it stands above.
type ascent struct {
	name  string
	began time.Time
	out   io.Writer
	size  func() (w, h int) // of the terminal; nil if it is none
	hue   bool              // colours are wanted
	told  *upEvents         // gets the changes instead; nil to show them
	stop  chan struct{}     // closed by end
	ended sync.WaitGroup    // of who draws

	mu    sync.Mutex            // taken last, and never held while anybody is written to
	known map[string]*ascending // by service; guarded by mu
	order []*ascending          // as they became known; guarded by mu

	screen sync.Mutex // held while out is written to
	drawn  int        // lines that are on the screen; guarded by screen
	over   bool       // guarded by screen
}

// ascending is a service on its way.
type ascending struct {
	supervisor.Progress
	since time.Time // in this state
}

// drawEvery is how often the lines are drawn anew, tellEvery how often it is said without a terminal
// how far it is.
const (
	drawEvery = 100 * time.Millisecond
	tellEvery = time.Second
)

// maxShown is how many services are named that are waited for.
const maxShown = 8

// newAscent begins to show on out how the application of that name comes up, or tells it, if there is
// somebody to tell.
func newAscent(name string, out *os.File, told *upEvents) *ascent {
	p := &ascent{name: name, began: time.Now(), out: out, told: told, stop: make(chan struct{}), known: make(map[string]*ascending)}
	if told != nil {
		return p
	}
	fd := int(out.Fd())
	every := tellEvery
	if term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" {
		every = drawEvery
		p.hue = wantColour(out)
		p.size = func() (int, int) {
			w, h, err := term.GetSize(fd)
			if err != nil || w <= 0 || h <= 0 {
				return 80, 24
			}
			return w, h
		}
	}
	p.ended.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.tick()
			case <-p.stop:
				return
			}
		}
	})
	return p
}

// tick draws the lines anew or, without a terminal, says how far it is.
func (p *ascent) tick() {
	p.around(func() {
		if p.size != nil {
			return
		}
		if lines := p.lines(0); len(lines) > 0 {
			fmt.Fprintln(p.out, lines[0])
		}
	})
}

// note takes in a change, and waits for nobody.
func (p *ascent) note(s supervisor.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.known[s.Service]
	if a == nil {
		a = &ascending{}
		p.known[s.Service], p.order = a, append(p.order, a)
	}
	if a.State != s.State || a.since.IsZero() {
		a.since = time.Now()
	}
	a.Progress = s
	if p.told != nil {
		p.told.add(upEvent{Event: "state", Progress: &s}.at(p.began))
	}
}

// around takes the lines away, lets something be printed, and draws them again.
func (p *ascent) around(print func()) {
	p.screen.Lock()
	defer p.screen.Unlock()
	p.erase()
	print()
	if p.told == nil && !p.over {
		p.draw()
	}
}

// Write lets what is logged meanwhile stand above.
func (p *ascent) Write(b []byte) (n int, err error) {
	p.around(func() { n, err = p.out.Write(b) })
	return n, err
}

// erase takes the lines from the screen. The caller holds it.
func (p *ascent) erase() {
	if p.drawn > 0 {
		fmt.Fprintf(p.out, "\r\x1b[%dA\x1b[J", p.drawn)
		p.drawn = 0
	}
}

// draw shows how far it is. The caller holds the screen.
func (p *ascent) draw() {
	if p.size == nil {
		return
	}
	width, height := p.size()
	var b bytes.Buffer
	for i, l := range p.lines(max(min(maxShown, height-3), 0)) {
		b.WriteString(p.coloured(i, cut(l, width-1)) + "\n")
		p.drawn++
	}
	p.out.Write(b.Bytes()) // in one, so that it does not flicker
}

// lines are what a terminal shows: how far it is, and what is waited for, at most so many of that.
func (p *ascent) lines(most int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.order) == 0 {
		return nil
	}
	all := []string{p.line()}
	waited := slices.DeleteFunc(slices.Clone(p.order), func(a *ascending) bool { return a.Settled && !a.Failed })
	// What has failed first, then what is at it, then what waits for that.
	slices.SortStableFunc(waited, func(a, b *ascending) int { return a.rank() - b.rank() })
	width := 0
	for _, a := range waited[:min(most, len(waited))] {
		width = max(width, len(a.Service))
	}
	for i, a := range waited {
		if i == most {
			break
		}
		word, detail := a.word(), a.Detail
		if detail != "" {
			detail = "  " + printable(detail)
		}
		all = append(all, fmt.Sprintf("  %-*s  %-8s %5s%s", width, a.Service, word, seconds(time.Since(a.since)), detail))
	}
	if n := len(waited) - most; n > 0 && most > 0 {
		all[most] += fmt.Sprintf("   … and %d more", n)
	}
	return all
}

// line says how far it is. The caller holds mu.
func (p *ascent) line() string {
	count := make(map[string]int)
	for _, a := range p.order {
		count[a.word()]++
	}
	line := fmt.Sprintf("%s: %d of %d ready", p.name, count["ready"], len(p.order))
	for _, word := range []string{"starting", "checking", "waiting", "again", "failed"} {
		if n := count[word]; n > 0 {
			line += fmt.Sprintf(", %d %s", n, word)
		}
	}
	return line + ", " + seconds(time.Since(p.began))
}

// word is where a service is, for who waits for it.
func (a *ascending) word() string {
	switch {
	case a.Failed:
		return "failed"
	case a.Settled:
		return "ready"
	case a.State == supervisor.Ready:
		return "checking" // its health
	case a.State == supervisor.Backoff:
		return "again"
	case a.State == supervisor.Starting:
		return "starting"
	}
	return "waiting"
}

func (a *ascending) rank() int {
	return slices.Index([]string{"failed", "again", "checking", "starting", "waiting", "ready"}, a.word())
}

// coloured is line i in the colour of its state.
func (p *ascent) coloured(i int, line string) string {
	colour := ""
	switch {
	case !p.hue || i == 0:
		return line
	case strings.Contains(line, " failed "):
		colour = "31"
	case strings.Contains(line, " again "), strings.Contains(line, " checking "):
		colour = "33"
	case strings.Contains(line, " waiting "):
		colour = "2"
	default:
		return line
	}
	return "\x1b[" + colour + "m" + line + "\x1b[0m"
}

// seconds is a time for people who wait.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

// end takes the lines away for good, and tells how it went.
func (p *ascent) end(url string, err error) {
	p.screen.Lock()
	over := p.over
	p.over = true
	p.erase()
	p.screen.Unlock()
	if over {
		return
	}
	close(p.stop)
	p.ended.Wait()
	if p.told == nil {
		return
	}
	p.mu.Lock()
	e := upEvent{Event: "up", Services: len(p.order), URL: url}
	p.mu.Unlock()
	if err != nil {
		e = upEvent{Event: "failed", Error: err.Error()}
	}
	p.told.end(e.at(p.began))
}
