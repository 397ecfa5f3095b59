package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// longLog is a closed log of so many records, in several segments.
func longLog(t testing.TB, n int) *Segments {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := Open(path, Options{Rotate: 1 << 20})
	must(t, err)
	r := decision
	for i := range n {
		r.Detail = strings.Repeat("x", i%300)
		_, err := l.Append(r)
		must(t, err)
	}
	must(t, l.Close())
	return segments(t, path)
}

func segments(t testing.TB, path string) *Segments {
	t.Helper()
	s, err := OpenSegments(path)
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

// To find a record takes the logarithm of how many there are: of ten times as many, a few
// steps more.
func TestFindHalves(t *testing.T) {
	steps := make(map[int]int)
	for _, n := range []int{2_000, 20_000} {
		s := longLog(t, n)
		for seq := uint64(1); seq <= uint64(n); seq += uint64(n / 50) {
			asked, read := 0, 0
			var found Record
			err := s.Scan(func(r Record) bool { asked++; return r.Seq <= seq }, func(r Record) error {
				if read++; r.Seq < seq {
					return nil
				}
				found = r
				return errFound
			})
			if !errors.Is(err, errFound) || found.Seq != seq {
				t.Fatalf("of %d, record %d: found %d, %v", n, seq, found.Seq, err)
			}
			if again, err := s.Find(seq); err != nil || again.Seq != seq {
				t.Fatalf("Find(%d) = %d, %v", seq, again.Seq, err)
			}
			steps[n] = max(steps[n], asked)
			if most := MaxLine / 200 * 2; read > most {
				t.Errorf("of %d, record %d: %d were read after %d steps, want at most %d", n, seq, read, asked, most)
			}
		}
		if _, err := s.Find(uint64(n) + 1000); !errors.Is(err, ErrNotFound) {
			t.Errorf("a record that is not there: %v", err)
		}
	}
	if few, many := steps[2_000], steps[20_000]; many > few+8 {
		t.Errorf("of ten times as many records one is found in %d steps instead of %d", many, few)
	}
}

// From the end to the beginning there are the same records, in whatever pieces the file is read.
func TestScanBack(t *testing.T) {
	s := longLog(t, 5_000)
	var forth, back []uint64
	must(t, s.Scan(nil, func(r Record) error { forth = append(forth, r.Seq); return nil }))
	must(t, s.ScanBack(func(r Record) error { back = append(back, r.Seq); return nil }))
	slices.Reverse(back)
	if len(forth) < 5_000 || !slices.Equal(forth, back) {
		t.Errorf("forth %d records, back %d, or others", len(forth), len(back))
	}
	read := 0
	err := s.ScanBack(func(Record) error { read++; return errFound })
	if !errors.Is(err, errFound) || read != 1 {
		t.Errorf("%d were read after the first, %v", read, err)
	}
}

// Of a torn last line nothing is said while the log may be in use, and what is damaged is said to be.
func TestScanBackOfDamage(t *testing.T) {
	lines := filled(t, 20)
	whole := strings.Join(lines, "")
	for _, tt := range []struct {
		name, text string
		want       int // records, or -1 for damage
	}{
		{"whole", whole, len(lines)},
		{"empty", "", 0},
		{"torn", whole + lines[0][:40], len(lines)},
		{"torn before the first line feed", lines[0][:40], 0},
		{"not a record", lines[0] + "{}\n" + lines[1], -1},
		{"an empty line", lines[0] + "\n" + lines[1], -1},
		{"a line beyond the bound", lines[0] + strings.Repeat("x", 3*MaxLine) + "\n", -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			must(t, os.WriteFile(path, []byte(tt.text), 0o600))
			s := segments(t, path)
			n := 0
			err := s.ScanBack(func(Record) error { n++; return nil })
			switch {
			case tt.want >= 0 && (err != nil || n != tt.want):
				t.Errorf("%d records, %v; want %d", n, err, tt.want)
			case tt.want < 0 && !errors.Is(err, ErrDamaged):
				t.Errorf("%d records, %v; want damage", n, err)
			}
		})
	}
}

func BenchmarkGrowthFind(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			s := longLog(b, n)
			for i := 0; b.Loop(); i++ {
				if _, err := s.Find(uint64(i*7919%n) + 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
