package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"cofferdam/admin"
	"cofferdam/numbers"
)

// watch looks at the numbers of the application again and again.
type watch struct {
	p        *project
	interval time.Duration
	count    int  // looks; 0 for one, or without end where that makes sense
	once     bool // one look, wherever
}

// sample is one look.
type sample struct {
	out   io.Writer
	width int // columns
	app   *admin.App
	now   *numbers.Snapshot
	rates []rates // in order
}

// plainWidth is how wide output is that nobody looks at on a terminal.
const plainWidth = 200

// minInterval keeps a look from being all that the application does.
const minInterval = 100 * time.Millisecond

// run shows one look after the other.
func (w *watch) run(f format, by string, show func(sample) error) error {
	w.interval = max(w.interval, minInterval)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	terminal := f.name == "table" && !w.once && w.count == 0 && term.IsTerminal(int(stdout.Fd()))
	looks := w.count
	switch {
	case w.once || looks == 0 && f.name == "table" && !terminal:
		looks = 1
	}
	before, app, err := w.p.askStats()
	if err != nil {
		return err
	}
	var keys <-chan byte
	if terminal {
		screen, err := newScreen(stdout)
		if err != nil {
			return err
		}
		defer screen.close()
		keys = screen.keys
	}
	var last sample
	draw := func() error {
		if err := sortRates(last.rates, by); err != nil {
			return err
		}
		if !terminal {
			last.out, last.width = stdout, plainWidth
			return show(last)
		}
		return drawScreen(stdout, &last, show)
	}
	if terminal { // what there is, with the rates since the start
		last = sample{app: app, now: before, rates: ratesOf(nil, before)}
		if err := draw(); err != nil {
			return err
		}
	}
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	for shown := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case key := <-keys:
			to, known := sortByKey[key]
			switch {
			case key == 'q' || key == 3: // ^C, which a raw terminal sends as it is
				return nil
			case !known:
				continue
			}
			by = to
		case <-tick.C:
			now, app, err := w.p.askStats()
			if err != nil {
				return err
			}
			last = sample{app: app, now: now, rates: ratesOf(before, now)}
			before = now
			shown++
		}
		if err := draw(); err != nil {
			return err
		}
		if looks > 0 && shown >= looks {
			return nil
		}
	}
}

// sortByKey are the keys of a running top.
var sortByKey = map[byte]string{
	'n': "name", 'c': "cpu", 'm': "memory", 'r': "calls", 'p': "p99", 'd': "denials", 'w': "queue", 's': "restarts",
}

// screen is a terminal that is drawn on anew each time.
type screen struct {
	out  *os.File
	in   int
	was  *term.State // nil if nothing can be typed
	keys chan byte
}

// Sequences of ECMA-48 and xterm: another screen without a cursor and back, home,
// the rest of the line, and the rest of the screen.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearLine   = "\x1b[K"
	clearRest   = "\x1b[J"
)

func newScreen(out *os.File) (*screen, error) {
	s := &screen{out: out, in: int(os.Stdin.Fd()), keys: make(chan byte)}
	if term.IsTerminal(s.in) {
		was, err := term.MakeRaw(s.in)
		if err != nil {
			return nil, err
		}
		s.was = was
		go func() {
			for b := make([]byte, 1); ; {
				if n, err := os.Stdin.Read(b); n != 1 || err != nil {
					return
				}
				s.keys <- b[0]
			}
		}()
	}
	_, err := io.WriteString(out, enterScreen)
	return s, err
}

func (s *screen) close() {
	io.WriteString(s.out, leaveScreen)
	if s.was != nil {
		term.Restore(s.in, s.was)
	}
}

// drawScreen draws what show prints, as much of it as the terminal has lines.
func drawScreen(out *os.File, s *sample, show func(sample) error) error {
	width, height, err := term.GetSize(int(out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	var text bytes.Buffer
	s.out, s.width = &text, width
	if err := show(*s); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	var b strings.Builder
	b.WriteString(home)
	for i, line := range lines[:min(len(lines), height)] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(cut(line, width) + clearLine)
	}
	b.WriteString(clearRest)
	_, err = io.WriteString(out, b.String())
	return err
}
