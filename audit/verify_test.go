package audit

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestTampering(t *testing.T) {
	lines := filled(t, 9)
	for _, tt := range []struct {
		name   string
		tamper func(l []string) []string
		err    error
		want   []string // Damages
		last   uint64
	}{
		{"nothing", func(l []string) []string { return l }, nil, nil, 9},
		{"no record at all", func(l []string) []string { return nil }, nil, nil, 0},
		{"a word changed", func(l []string) []string {
			l[3] = strings.Replace(l[3], "bank", "bonk", 1)
			return l
		}, ErrDamaged, []string{"line 5: record 5: does not carry the hash of the line before: one of the two was changed"}, 9},
		{"a hash changed", func(l []string) []string {
			l[3] = l[3][:100] + flip(l[3][100]) + l[3][101:]
			return l
		}, ErrDamaged, []string{
			"line 4: record 4: does not carry the hash of the line before: one of the two was changed",
			"line 5: record 5: does not carry the hash of the line before: one of the two was changed",
		}, 9},
		{"a verdict changed that comes back as the same record", func(l []string) []string {
			l[3] = strings.Replace(l[3], `"verdict":"allow"`, `"verdict":"deny","verdict":"allow"`, 1)
			return l
		}, ErrDamaged, []string{"line 4: not a record: not written the way the log writes it"}, 9},
		{"white space", func(l []string) []string {
			l[3] = strings.Replace(l[3], `,"op"`, `, "op"`, 1)
			return l
		}, ErrDamaged, []string{"line 4: not a record: not written the way the log writes it"}, 9},
		{"an unknown key", func(l []string) []string {
			l[3] = strings.Replace(l[3], `,"op"`, `,"x":1,"op"`, 1)
			return l
		}, ErrDamaged, []string{"line 4: not a record: not written the way the log writes it"}, 9},
		{"a line of something else", func(l []string) []string {
			l[3] = "hello\n"
			return l
		}, ErrDamaged, []string{"line 4: not a record: invalid character 'h' looking for beginning of value"}, 9},
		{"a record removed", func(l []string) []string { return slices.Delete(l, 3, 4) },
			ErrDamaged, []string{"line 4: record 5: 1 records before it are missing"}, 9},
		{"three records removed", func(l []string) []string { return slices.Delete(l, 3, 6) },
			ErrDamaged, []string{"line 4: record 7: 3 records before it are missing"}, 9},
		{"the first removed", func(l []string) []string { return l[1:] },
			ErrDamaged, []string{"line 1: record 2: 1 records before it are missing"}, 9},
		{"two swapped", func(l []string) []string {
			l[3], l[4] = l[4], l[3]
			return l
		}, ErrDamaged, []string{
			"line 4: record 5: 1 records before it are missing",
			"line 5: record 4: stands after record 5: moved or inserted",
			"line 6: record 6: 1 records before it are missing",
		}, 9},
		{"one repeated", func(l []string) []string { return slices.Insert(l, 4, l[3]) },
			ErrDamaged, []string{
				"line 5: record 4: stands after record 4: moved or inserted",
			}, 9},
		{"a blank line", func(l []string) []string { return slices.Insert(l, 4, "\n") },
			ErrDamaged, []string{"line 5: not a record: unexpected end of JSON input"}, 9},
		{"a line far too long", func(l []string) []string {
			return slices.Insert(l, 4, strings.Repeat("x", 3*MaxLine)+"\n")
		}, ErrDamaged, []string{"line 5: not a record: 196609 bytes long, the most is 65536"}, 9},
		{"cut in the middle of a line", func(l []string) []string {
			l[8] = l[8][:50]
			return l
		}, ErrTorn, nil, 8},
		{"the last line feed cut", func(l []string) []string {
			l[8] = strings.TrimSuffix(l[8], "\n")
			return l
		}, ErrTorn, nil, 8},
		// These two do not break the chain. The head tells, see TestHead.
		{"whole lines cut", func(l []string) []string { return l[:6] }, nil, nil, 6},
		{"the last line changed", func(l []string) []string {
			l[8] = strings.Replace(l[8], "bank", "bonk", 1)
			return l
		}, nil, nil, 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report, err := Verify(strings.NewReader(strings.Join(tt.tamper(slices.Clone(lines)), "")))
			if !errors.Is(err, tt.err) {
				t.Errorf("Verify = %v, want %v", err, tt.err)
			}
			var got []string
			for _, d := range report.Damages {
				got = append(got, d.String())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("Damages = %q, want %q", got, tt.want)
			}
			if report.Last != tt.last {
				t.Errorf("Last = %d, want %d", report.Last, tt.last)
			}
			if err != nil && !strings.Contains(err.Error(), "line ") {
				t.Errorf("Verify = %v, which names no line", err)
			}
		})
	}
}

func flip(digit byte) string {
	if digit == '0' {
		return "1"
	}
	return "0"
}

// What the chain cannot show, the head does.
func TestHead(t *testing.T) {
	l := open(t)
	for range 5 {
		_, err := l.Append(decision)
		must(t, err)
	}
	seq, head := l.Head()
	must(t, l.Close())
	whole := read(t, l.Path())
	for _, tt := range []struct {
		name, log string
		same      bool
	}{
		{"untouched", whole, true},
		{"a line cut", whole[:strings.LastIndexByte(strings.TrimSuffix(whole, "\n"), '\n')+1], false},
		{"the last line changed", whole[:len(whole)-4] + "8}\n", false},
	} {
		report, _ := Verify(strings.NewReader(tt.log))
		if same := report.Last == seq && report.Head == head; same != tt.same {
			t.Errorf("%s: Verify ends at %d, %s; the log ended at %d, %s", tt.name, report.Last, report.Head, seq, head)
		}
	}
}

func TestDamagesAreBounded(t *testing.T) {
	report, err := Verify(strings.NewReader(strings.Repeat("x\n", 3*MaxDamages)))
	if !errors.Is(err, ErrDamaged) || report.Damaged != 3*MaxDamages || len(report.Damages) != MaxDamages {
		t.Errorf("Verify = %d damages, %d listed, %v; want %d and %d", report.Damaged, len(report.Damages), err, 3*MaxDamages, MaxDamages)
	}
}

func TestFindAndScan(t *testing.T) {
	log := strings.Join(filled(t, 5), "")
	r, err := Find(strings.NewReader(log), 4)
	if err != nil || r.Seq != 4 || r.Object != "bank.method3" || r.Call != 77 {
		t.Errorf("Find(4) = %+v, %v", r, err)
	}
	if _, err := Find(strings.NewReader(log), 6); !errors.Is(err, ErrNotFound) {
		t.Errorf("Find(6) = %v, want ErrNotFound", err)
	}
	if _, err := Find(strings.NewReader("junk\n"+log), 4); !errors.Is(err, ErrDamaged) {
		t.Errorf("Find in a damaged log = %v, want ErrDamaged", err)
	}
	stop := errors.New("stop")
	n := 0
	if err := Scan(strings.NewReader(log), func(Record) error {
		if n++; n == 3 {
			return stop
		}
		return nil
	}); !errors.Is(err, stop) || n != 3 {
		t.Errorf("Scan = %v after %d records, want %v after 3", err, n, stop)
	}
	n = 0
	if err := Scan(strings.NewReader(log+`{"seq":6,"ti`), func(Record) error { n++; return nil }); err != nil || n != 5 {
		t.Errorf("Scan of a log in use = %v after %d records, want nil after 5", err, n)
	}
}

func TestReaderFails(t *testing.T) {
	log := strings.Join(filled(t, 2), "")
	r := io.MultiReader(strings.NewReader(log[:len(log)-10]), failing{})
	report, err := Verify(r)
	if !errors.Is(err, os.ErrDeadlineExceeded) || report.Records != 1 {
		t.Errorf("Verify = %+v, %v, want one record and the reader's error", report, err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func FuzzEncode(f *testing.F) {
	f.Add("dynamic", "bank.transfer", "cofferdam.yaml:3", uint64(1), int64(0))
	f.Add("\x00\x1b[31m\x7f", "\xff\xc0\xaf\"\\\n", "\u202e\u2028\u0085\U000e0001😀", uint64(0), int64(1<<40))
	f.Add(strings.Repeat("é", MaxField), strings.Repeat("\xff", MaxField), strings.Repeat("a", MaxField+1), uint64(1<<63), int64(-1))
	f.Fuzz(func(t *testing.T, subject, object, detail string, call uint64, micros int64) {
		want := Record{Seq: 1, Time: time.UnixMicro(micros % 1e17).UTC(), Kind: KindDecision,
			Subject: subject, Object: object, Detail: detail, Call: call}
		zeros := noLine()
		line := appendRecord(nil, &want, zeros[:])
		if len(line) > MaxLine {
			t.Fatalf("a line of %d bytes", len(line))
		}
		if y := want.Time.Year(); y < 0 || y > 9999 {
			return
		}
		for _, r := range strings.TrimSuffix(string(line), "\n") {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q stands unescaped in %q", r, line)
			}
		}
		var got Record
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("json.Unmarshal(%q) = %v", line, err)
		}
		for _, s := range []struct{ name, got, raw string }{
			{"subject", got.Subject, subject}, {"object", got.Object, object}, {"detail", got.Detail, detail},
		} {
			clean := string([]rune(s.raw)) // each invalid byte becomes U+FFFD
			if len(clean) <= MaxField {
				if s.got != clean {
					t.Errorf("%s %q comes back as %q", s.name, s.raw, s.got)
				}
				continue
			}
			kept := strings.TrimSuffix(s.got, "…")
			if len(s.got) > MaxField || len(s.got) < MaxField-utf8.UTFMax-3 || !strings.HasPrefix(clean, kept) || kept == s.got {
				t.Errorf("%s of %d bytes comes back as %q", s.name, len(clean), s.got)
			}
		}
		if !got.Time.Equal(want.Time) || got.Call != call {
			t.Errorf("time %v, call %d come back as %v, %d", want.Time, call, got.Time, got.Call)
		}
		if _, err := decode(line); err != nil {
			t.Errorf("decode(%q) = %v", line, err)
		}
	})
}

// Whatever Verify accepts is exactly what a log would have written: encoding its
// records again gives the same bytes.
func FuzzVerify(f *testing.F) {
	log := strings.Join(filled(f, 3), "")
	f.Add(log)
	f.Add(log + "{")
	f.Add(strings.Replace(log, "bank", "b\\u0061nk", 1))
	f.Add(strings.ToUpper(log))
	f.Fuzz(func(t *testing.T, s string) {
		report, err := Verify(strings.NewReader(s))
		if (err == nil) != (report.Damaged == 0 && report.Torn == 0) {
			t.Fatalf("Verify(%q) = %+v, %v", s, report, err)
		}
		if err != nil {
			return
		}
		again := []byte{}
		prev := noLine()
		if err := Scan(strings.NewReader(s), func(r Record) error {
			start := len(again)
			again = appendRecord(again, &r, prev[:])
			prev = hashLine(again[start:])
			return nil
		}); err != nil || string(again) != s || string(prev[:]) != report.Head {
			t.Errorf("Verify(%q) accepts what would be written as %q (%v)", s, again, err)
		}
	})
}
