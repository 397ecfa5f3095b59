// Command flame draws where processor time goes, or memory: what `perf script`, or `pprof -traces`, prints on
// its standard input becomes a flame graph, an SVG, on its standard output.
//
//	perf record -F 999 -g -a -- sleep 10
//	perf script -F comm,ip,sym | go run ./bench/flame -title "calls" >flame.svg
//
//	go test ./monitor -run '^$' -bench CallInside -memprofile mem -memprofilerate 1
//	go tool pprof -traces -sample_index=alloc_objects mem | go run ./bench/flame -traces >flame.svg
//
// Each box is a function, as wide as its share of the samples, upon the one that
// called it; the lowest row are the programs. Go's functions have names only in programs built
// without -s.
//
// Trusted: no.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"html"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	title := flag.String("title", "where the time goes", "what stands above it")
	skip := flag.String("skip", "swapper", "programs that are left out, separated by commas")
	traces := flag.Bool("traces", false, "the input is what `go tool pprof -traces` prints")
	below := flag.String("below", "", "of a stack that has a function whose name has `this` in it, only that and what it called; no others")
	flag.Parse()
	reads := func() (*frame, error) { return read(os.Stdin, strings.Split(*skip, ",")) }
	if *traces {
		reads = func() (*frame, error) { return readTraces(os.Stdin, *below) }
	}
	root, err := reads()
	if err == nil {
		err = draw(os.Stdout, *title, root)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "flame:", err)
		os.Exit(1)
	}
}

// frame is a function as called from the one below.
type frame struct {
	name    string
	samples int // in it and in what it called; or bytes, or whatever is drawn
	calls   map[string]*frame
}

// add counts a stack n times, of which the first is the lowest.
func (f *frame) add(n int, stack []string) {
	f.samples += n
	for _, name := range stack {
		next := f.calls[name]
		if next == nil {
			next = &frame{name: name, calls: map[string]*frame{}}
			if f.calls == nil {
				f.calls = map[string]*frame{}
			}
			f.calls[name] = next
		}
		next.samples += n
		f = next
	}
}

// rows is how many f takes, with all above it of so many samples or more.
func (f *frame) rows(samples float64) int {
	most := 0
	for _, c := range f.calls {
		if float64(c.samples) >= samples {
			most = max(most, c.rows(samples))
		}
	}
	return most + 1
}

// read adds up samples: a line with the program's name, then one for each function, the
// innermost first, "ADDRESS NAME", then an empty line.
func read(r io.Reader, skip []string) (*frame, error) {
	root := &frame{name: "all"}
	var program string
	var stack []string
	end := func() {
		if program != "" && !slices.Contains(skip, program) {
			slices.Reverse(stack)
			root.add(1, append([]string{program}, stack...))
		}
		program, stack = "", stack[:0]
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		text := strings.TrimSpace(line)
		switch {
		case text == "":
			end()
		case line[0] != ' ' && line[0] != '\t' || program == "":
			end()
			program = text
		default:
			_, name, _ := strings.Cut(text, " ")
			if n := len(stack); name == "[unknown]" && n > 0 && stack[n-1] == name {
				continue // of a program without symbols one box is enough
			}
			stack = append(stack, name)
		}
	}
	end()
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if root.samples == 0 {
		return nil, errNothing("`perf script -F comm,ip,sym` prints")
	}
	return root, nil
}

func errNothing(what string) error {
	return errors.New("no samples on the standard input: give it what " + what)
}

const (
	width  = 1200.0
	row    = 16
	margin = 28
	least  = 1.5 // what is narrower is not drawn
)

// draw writes the SVG.
func draw(w io.Writer, title string, root *frame) error {
	out := bufio.NewWriter(w)
	scale := width / float64(root.samples)
	height := margin + root.rows(least/scale)*row + 8
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" font-family="sans-serif" font-size="11">`+"\n", width, height)
	fmt.Fprintf(out, `<rect width="100%%" height="100%%" fill="#fff"/><text x="%.0f" y="18" font-size="14" text-anchor="middle">%s (%d samples)</text>`+"\n",
		width/2, html.EscapeString(title), root.samples)
	box(out, root, 0, scale, height-8-row)
	fmt.Fprintln(out, "</svg>")
	return out.Flush()
}

// box draws f at x, and what it called above it.
func box(out *bufio.Writer, f *frame, x, scale float64, y int) {
	wide := float64(f.samples) * scale
	if wide < least {
		return
	}
	shown := f.name
	if room := int(wide / 6.2); len(shown) > room {
		shown = shown[:max(room-1, 0)]
	}
	fmt.Fprintf(out, `<g><title>%s, %d samples</title><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s" stroke="#fff" stroke-width="0.5"/>`,
		html.EscapeString(f.name), f.samples, x, y, wide, row-1, colour(f.name))
	if len(shown) > 2 {
		fmt.Fprintf(out, `<text x="%.1f" y="%d">%s</text>`, x+2, y+row-5, html.EscapeString(shown))
	}
	fmt.Fprintln(out, "</g>")
	for _, name := range slices.Sorted(maps.Keys(f.calls)) {
		c := f.calls[name]
		box(out, c, x, scale, y-row)
		x += float64(c.samples) * scale
	}
}

// colour tells functions of Go, which have a package, from those of the kernel and of C.
func colour(name string) string {
	h := fnv.New32a()
	h.Write([]byte(name))
	tint := int(h.Sum32() % 40)
	if strings.Contains(name, ".") {
		return fmt.Sprintf("rgb(%d,%d,%d)", 120+tint, 190+tint/2, 235)
	}
	return fmt.Sprintf("rgb(%d,%d,%d)", 245, 170+tint, 100+tint)
}
