package audit

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// signedLog is a closed log with a checkpoint for every four records:
//
//	C1 2 3 4 5 C6 7 8 9 10 C11 12 13 C14
//
// where the first is that of the beginning, and the last that of the close.
func signedLog(t testing.TB) (lines []string, signer ed25519.PrivateKey) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := Open(path, Options{Every: 4})
	must(t, err)
	for i := range 10 {
		r := decision
		r.Object = fmt.Sprintf("bank.method%d", i)
		_, err := l.Append(r)
		must(t, err)
	}
	must(t, l.Close())
	lines = strings.SplitAfter(read(t, path), "\n")
	lines = lines[:len(lines)-1]
	for i, line := range lines {
		if is := strings.Contains(line, `"checkpoint"`); is != (i == 0 || i == 5 || i == 10 || i == 13) {
			t.Fatalf("line %d is a checkpoint: %v", i+1, is)
		}
	}
	return lines, l.signer
}

// verified is what Verify says of a log of one file.
func verified(t testing.TB, text string, c Check) Report {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return verifiedAt(t, path, c)
}

func verifiedAt(t testing.TB, path string, c Check) Report {
	t.Helper()
	s, err := OpenSegments(path)
	must(t, err)
	defer s.Close()
	report, err := s.Verify(c)
	must(t, err)
	return report
}

// anew computes the chain anew from line i on, as anybody can, with the numbers too, and
// signs the checkpoints from there if there is a signer.
func anew(lines []string, i int, signer ed25519.PrivateKey) []string {
	lines = slices.Clone(lines)
	prev := noLine()
	if i > 0 {
		prev = hashLine([]byte(lines[i-1]))
	}
	for ; i < len(lines); i++ {
		r, err := decode([]byte(lines[i]))
		if err != nil {
			panic(err)
		}
		r.Seq = uint64(i + 1)
		if r.Checkpoint != nil && signer != nil {
			for j := range i {
				if strings.Contains(lines[j], `"checkpoint":`) {
					r.Checkpoint.After = uint64(j + 1)
				}
			}
			r.Checkpoint.Key, r.Checkpoint.Sig = publicOf(signer).String(), ""
			r.Checkpoint.Sig = hex.EncodeToString(ed25519.Sign(signer, appendRecord(nil, &r, prev[:])))
		}
		line := appendRecord(nil, &r, prev[:])
		lines[i], prev = string(line), hashLine(line)
	}
	return lines
}

func changed(l []string, i int, from, to string) []string {
	if !strings.Contains(l[i], from) {
		panic(from + " is not in " + l[i])
	}
	l[i] = strings.Replace(l[i], from, to, 1)
	return l
}

// without leaves lines out.
func without(l []string, some ...int) (left []string) {
	for i, line := range l {
		if !slices.Contains(some, i) {
			left = append(left, line)
		}
	}
	return left
}

// Everything that somebody may do to a log that he can write, and what is said of it.
func TestEdits(t *testing.T) {
	lines, signer := signedLog(t)
	other, _ := signedLog(t)
	_, thief, err := ed25519.GenerateKey(nil)
	must(t, err)
	for _, tt := range []struct {
		name    string
		edit    func(l []string) []string
		verdict Verdict
		why     string // begins with
		damages int
	}{
		{"nothing", func(l []string) []string { return l }, Complete, "all is there up to the end, where it was closed", 0},

		// What is there changed.
		{"a word changed", func(l []string) []string { return changed(l, 7, "bank", "bonk") },
			Damaged, "line 9: record 9: does not carry the hash of the line before", 1},
		{"a word of a checkpoint changed", func(l []string) []string { return changed(l, 5, `"count"`, `"close"`) },
			Damaged, "line 6: record 6: is a checkpoint, and its signature does not hold", 2},
		{"a hash changed", func(l []string) []string {
			l[7] = l[7][:100] + flip(l[7][100]) + l[7][101:]
			return l
		}, Damaged, "line 8: record 8: does not carry the hash of the line before", 2},
		{"a signature changed", func(l []string) []string {
			n := len(l[5]) - 10
			l[5] = l[5][:n] + flip(l[5][n]) + l[5][n+1:]
			return l
		}, Damaged, "line 6: record 6: is a checkpoint, and its signature does not hold", 2},
		{"a signature in capitals", func(l []string) []string {
			begin, sig, _ := strings.Cut(l[13], `"sig":"`)
			l[13] = begin + `"sig":"` + strings.ToUpper(sig)
			return l
		}, Damaged, "line 14: record e: is a checkpoint, and its signature does not hold", 1},
		{"a signature cut", func(l []string) []string {
			begin, sig, _ := strings.Cut(l[13], `"sig":"`)
			l[13] = begin + `"sig":"` + sig[2:]
			return l
		}, Damaged, "line 14: record e: is a checkpoint, and its signature does not hold", 1},
		{"a key that is none", func(l []string) []string { return changed(l, 13, `"key":"`, `"key":"x`) },
			Damaged, "line 14: record e: is a checkpoint, and its key is not a public key", 1},
		{"the time of the last checkpoint", func(l []string) []string { return changed(l, 13, `"time":"2`, `"time":"3`) },
			Damaged, "line 14: record e: is a checkpoint, and its signature does not hold", 1},
		{"a verdict changed that comes back as the same record", func(l []string) []string {
			return changed(l, 4, `"verdict":"allow"`, `"verdict":"deny","verdict":"allow"`)
		}, Damaged, "line 5: not a record: not written the way the log writes it", 1},
		{"white space", func(l []string) []string { return changed(l, 4, `,"op"`, `, "op"`) },
			Damaged, "line 5: not a record: not written the way the log writes it", 1},
		{"an unknown key", func(l []string) []string { return changed(l, 4, `,"op"`, `,"x":1,"op"`) },
			Damaged, "line 5: not a record: not written the way the log writes it", 1},
		{"a line of something else", func(l []string) []string { l[4] = "hello\n"; return l },
			Damaged, "line 5: not a record: ", 1},
		{"a checkpoint of another kind", func(l []string) []string { return changed(l, 5, `"kind":"checkpoint"`, `"kind":"app"`) },
			Damaged, "line 6: not a record: a checkpoint of another kind", 2},
		{"a blank line", func(l []string) []string { return slices.Insert(l, 5, "\n") },
			Damaged, "line 6: not a record: ", 1},
		{"a line far too long", func(l []string) []string { return slices.Insert(l, 5, strings.Repeat("x", 3*MaxLine)+"\n") },
			Damaged, "line 6: not a record: 196609 bytes long, the most is 65536", 1},

		// Lines removed, moved, added.
		{"a record removed", func(l []string) []string { return without(l, 7) },
			Damaged, "line 8: record 9: 1 records before it are missing", 1},
		{"a checkpoint removed", func(l []string) []string { return without(l, 5) },
			Damaged, "line 6: record 7: 1 records before it are missing", 2},
		{"the first removed", func(l []string) []string { return l[1:] },
			Damaged, "record 2: 1 records before the first one are missing, and no checkpoint says that rotation deleted them", 1},
		{"two swapped", func(l []string) []string { l[7], l[8] = l[8], l[7]; return l },
			Damaged, "line 8: record 9: 1 records before it are missing", 3},
		{"one repeated", func(l []string) []string { return slices.Insert(l, 8, l[7]) },
			Damaged, "line 9: record 8: stands after record 8: moved, inserted or of another log", 1},
		{"a checkpoint repeated at the end", func(l []string) []string { return append(l, l[13]) },
			Damaged, "line 15: record e: stands after record e: moved, inserted or of another log", 2},
		{"an old checkpoint copied to the end", func(l []string) []string { return append(l[:13], l[10]) },
			Damaged, "line 14: record b: stands after record d", 2},
		{"its end replaced by that of another log", func(l []string) []string { return append(l[:7], other[7:]...) },
			WrongKey, "record b is a checkpoint that another key signed", 1},
		{"another log", func(l []string) []string { return other }, WrongKey, "record 1 is a checkpoint that another key signed", 0},

		// The chain made anew.
		{"changed and chained anew", func(l []string) []string { return anew(changed(l, 7, "bank", "bonk"), 7, nil) },
			Damaged, "line 11: record b: is a checkpoint, and its signature does not hold", 2},
		{"changed, chained anew, and the last checkpoint signed by a thief", func(l []string) []string {
			l = changed(l, 7, "bank", "bonk")
			return anew(l, 7, thief)
		}, WrongKey, "record b is a checkpoint that another key signed", 0},
		{"all of it signed by a thief", func(l []string) []string { return anew(l, 0, thief) },
			WrongKey, "record 1 is a checkpoint that another key signed", 0},
		{"removed and chained anew", func(l []string) []string { return anew(without(l, 7), 7, nil) },
			Damaged, "line 10: record a: is a checkpoint, and its signature does not hold", 2},
		{"chained anew after a checkpoint, the others removed", func(l []string) []string {
			return anew(without(changed(l, 7, "bank", "bonk"), 10, 13), 7, nil)
		}, Unsigned, "6 records stand after the last checkpoint, record 6: the application was killed, or the end was changed", 0},
		{"chained anew without any checkpoint", func(l []string) []string { return anew(without(l, 0, 5, 10, 13), 0, nil) },
			Unsigned, "there is no checkpoint in it", 0},
		{"a checkpoint made out of the signature of another", func(l []string) []string {
			r, _ := decode([]byte(l[10]))
			r.Seq = 14
			prev := hashLine([]byte(l[12]))
			l[13] = string(appendRecord(nil, &r, prev[:]))
			return l
		}, Damaged, "line 14: record e: is a checkpoint, and its signature does not hold", 1},

		// The end removed.
		{"cut in the middle of a line", func(l []string) []string { l[13] = l[13][:50]; return l },
			Truncated, "the last line is torn, 50 bytes of it are there", 0},
		{"the last line feed cut", func(l []string) []string { l[13] = strings.TrimSuffix(l[13], "\n"); return l },
			Truncated, "the last line is torn", 0},
		{"cut at a checkpoint", func(l []string) []string { return l[:11] },
			Truncated, "it ends with a checkpoint and was not closed", 0},
		{"the checkpoint of the close cut", func(l []string) []string { return l[:13] },
			Unsigned, "2 records stand after the last checkpoint, record b", 0},
		{"the last line changed before that", func(l []string) []string { return changed(l[:13], 12, "bank", "bonk") },
			Unsigned, "2 records stand after the last checkpoint, record b", 0},
		{"nothing left", func(l []string) []string { return nil }, Truncated, "there is no record in it", 0},

		// Who has the key can do all of it. This is not to be mended here, see the note.
		{"made anew by who has the key", func(l []string) []string { return anew(changed(l, 7, "bank", "bonk"), 7, signer) },
			Complete, "all is there up to the end, where it was closed", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report := verified(t, strings.Join(tt.edit(slices.Clone(lines)), ""), Check{Keys: []Key{publicOf(signer)}})
			why := report.Why
			if report.Verdict == Damaged { // which begins with the file
				why = report.Why[strings.Index(report.Why, "audit.jsonl ")+len("audit.jsonl "):]
				if report.Damages[0].Line == 0 {
					why = report.Why
				}
			}
			if report.Verdict != tt.verdict || !strings.HasPrefix(why, tt.why) {
				t.Errorf("%s: %s\nwant %s: %s", report.Verdict, report.Why, tt.verdict, tt.why)
			}
			if int(report.Damaged) != tt.damages {
				t.Errorf("%d damages, want %d: %v", report.Damaged, tt.damages, report.Damages)
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

// What was noted elsewhere holds against whoever has the key, and tells an end that is
// missing.
func TestAnchors(t *testing.T) {
	lines, signer := signedLog(t)
	at := func(l []string, i int) *Head {
		h := hashLine([]byte(l[i]))
		return &Head{uint64(i + 1), string(h[:])}
	}
	forged := anew(changed(slices.Clone(lines), 7, "bank", "bonk"), 7, signer)
	for _, tt := range []struct {
		name    string
		lines   []string
		check   Check
		verdict Verdict
		why     string
	}{
		{"the end", lines, Check{Anchor: at(lines, 13)}, Complete, "all is there up to the end that was noted"},
		{"the end of what was not closed", lines[:11], Check{Anchor: at(lines, 10)}, Complete, "all is there up to the end that was noted"},
		{"the end of what has no checkpoint there", lines[:10], Check{Anchor: at(lines, 9)}, Complete, "all is there up to the end that was noted"},
		{"before the end", lines, Check{Anchor: at(lines, 8)}, Complete, "all is there up to the end, where it was closed"},
		{"before an end that is open", lines[:10], Check{Anchor: at(lines, 8)}, Unsigned, "4 records stand after the last checkpoint"},
		{"cut since", lines[:11], Check{Anchor: at(lines, 13)}, Truncated, "it ends with record b, and record e was noted: 3 records are missing"},
		{"cut since, and closed", anew(append(slices.Clone(lines[:10]), lines[13]), 10, signer), Check{Anchor: at(lines, 13)}, Truncated, "it ends with record b"},
		{"made anew by who has the key", forged, Check{Anchor: at(lines, 13)}, Damaged, "record e: is not the one that was noted"},
		{"made anew after what was noted", forged, Check{Anchor: at(lines, 6)}, Complete, "all is there"},
		{"no log any more", nil, Check{Anchor: at(lines, 13)}, Truncated, "there is no record in it"},

		{"the application says so", lines[:10], Check{Live: at(lines, 9)}, Complete, "all is there up to the end that was named by the running application"},
		{"and more came since", lines[:12], Check{Live: at(lines, 9)}, Complete, "all is there"},
		{"the application says that there is more", lines[:11], Check{Live: at(lines, 13)}, Truncated, "it ends with record b, and record e is the last one of the running application"},
		{"the application says something else", forged, Check{Live: at(lines, 13)}, Damaged, "record e: is not the one that was named by the running application"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.check.Keys = []Key{publicOf(signer)}
			report := verified(t, strings.Join(tt.lines, ""), tt.check)
			if report.Verdict != tt.verdict || !strings.Contains(report.Why, tt.why) {
				t.Errorf("%s: %s\nwant %s: %s", report.Verdict, report.Why, tt.verdict, tt.why)
			}
		})
	}
}

// Without a key to hold against it a log is held against its own word, and says so.
func TestOwnKey(t *testing.T) {
	lines, signer := signedLog(t)
	report := verified(t, strings.Join(lines, ""), Check{})
	if report.Verdict != Complete || !report.OwnKey || !slices.Equal(report.Keys, []Key{publicOf(signer)}) {
		t.Errorf("%+v", report)
	}
	other, _ := signedLog(t)
	if report := verified(t, strings.Join(append(lines[:7:7], other[7:]...), ""), Check{}); report.Verdict != WrongKey {
		t.Errorf("of two logs: %+v", report)
	}
}

func TestDamagesAreBounded(t *testing.T) {
	report := verified(t, strings.Repeat("x\n", 3*MaxDamages), Check{})
	if report.Verdict != Damaged || report.Damaged != 3*MaxDamages || len(report.Damages) != MaxDamages {
		t.Errorf("Verify = %s, %d damages, %d listed, want %d and %d", report.Verdict, report.Damaged, len(report.Damages), 3*MaxDamages, MaxDamages)
	}
}

func TestHeadText(t *testing.T) {
	zeros := noLine()
	h := Head{77, string(zeros[:])}
	if got, err := ParseHead(h.String()); got != h || err != nil {
		t.Errorf("ParseHead(%q) = %v, %v", h, got, err)
	}
	for _, s := range []string{"", "77", h.Hash, h.Hash + ":", h.Hash + ":0", h.Hash + ":077", h.Hash + ":-1", h.Hash + ":+1", strings.ToUpper("A"+h.Hash[1:]) + ":1", h.Hash[1:] + ":1", h.String() + " "} {
		if got, err := ParseHead(s); err == nil {
			t.Errorf("ParseHead(%q) = %v, want an error", s, got)
		}
	}
}

func TestFindAndScan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	text := strings.Join(filled(t, 5), "")
	in := func(text string) *Segments {
		must(t, os.WriteFile(path, []byte(text), 0o600))
		s, err := OpenSegments(path)
		must(t, err)
		t.Cleanup(s.Close)
		return s
	}
	r, err := in(text).Find(5)
	if err != nil || r.Seq != 5 || r.Object != "bank.method3" || r.Call != 77 {
		t.Errorf("Find(5) = %+v, %v", r, err)
	}
	if _, err := in(text).Find(7); !errors.Is(err, ErrNotFound) {
		t.Errorf("Find(7) = %v, want ErrNotFound", err)
	}
	if _, err := in("junk\n" + text).Find(5); !errors.Is(err, ErrDamaged) {
		t.Errorf("Find in a damaged log = %v, want ErrDamaged", err)
	}
	stop := errors.New("stop")
	n := 0
	if err := in(text).Scan(nil, func(Record) error {
		if n++; n == 3 {
			return stop
		}
		return nil
	}); !errors.Is(err, stop) || n != 3 {
		t.Errorf("Scan = %v after %d records, want %v after 3", err, n, stop)
	}
	n = 0
	if err := in(text+`{"seq":7,"ti`).Scan(nil, func(Record) error { n++; return nil }); err != nil || n != 6 {
		t.Errorf("Scan of a log in use = %v after %d records, want nil after 6", err, n)
	}
}

// What is no file, or no log, is an error and neither waited for nor read for ever.
func TestOpenSegmentsRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenSegments(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
	must(t, os.Symlink("/dev/zero", filepath.Join(dir, "audit.jsonl")))
	if _, err := OpenSegments(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("of a device: %v", err)
	}
}

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
		if _, ok := parse(line); !ok {
			t.Errorf("%q is not read the quick way", line)
		}
		if _, err := decodeSlowly(line); err != nil {
			t.Errorf("decode(%q) = %v", line, err)
		}
	})
}

// Whatever Verify finds nothing wrong with is exactly what a log would have written:
// encoding its records again gives the same bytes, and each checkpoint is signed.
func FuzzVerify(f *testing.F) {
	lines, signer := signedLog(f)
	log := strings.Join(lines, "")
	f.Add(log)
	f.Add(log + "{")
	f.Add(strings.Replace(log, "bank", "b\\u0061nk", 1))
	f.Add(strings.ToUpper(log))
	f.Add(lines[5])
	f.Add(strings.Replace(log, `"checkpoint":{`, `"checkpoint":null,"checkpoint":{`, 1))
	f.Fuzz(func(t *testing.T, s string) {
		v := newVerifier(Check{Keys: []Key{publicOf(signer)}})
		if err := eachLine(strings.NewReader(s), v.check); err != nil {
			t.Fatal(err)
		}
		report := v.conclude(false)
		if report.Verdict == "" || report.Why == "" || (report.Verdict == Damaged) != (report.Damaged > 0 && v.stranger == 0) {
			t.Fatalf("Verify(%q) = %+v", s, report)
		}
		if report.Verdict != Complete && report.Verdict != Unsigned {
			return
		}
		again := []byte{}
		prev := noLine()
		if err := scan(strings.NewReader(s), 0, false, func(r Record) error {
			if r.Seq == 1 || len(again) > 0 { // what rotation left begins with another hash
				r.Prev = string(prev[:])
			}
			start := len(again)
			again = appendRecord(again, &r, []byte(r.Prev))
			prev = hashLine(again[start:])
			if r.Checkpoint != nil {
				if k, err := signedBy(&r); err != nil || k != publicOf(signer) {
					t.Errorf("%q is taken for a checkpoint of ours: %v", again[start:], err)
				}
			}
			return nil
		}); err != nil || string(again) != s || string(prev[:]) != report.Head {
			t.Errorf("Verify(%q) accepts what would be written as %q (%v)", s, again, err)
		}
		if report.Verdict == Complete && s != log {
			t.Errorf("%q is complete, and was never signed", s)
		}
	})
}

// FuzzText: keys and heads have one way to be written.
func FuzzText(f *testing.F) {
	zeros := noLine()
	f.Add(string(zeros[:]))
	f.Add(string(zeros[:]) + ":1")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseKey(s); err == nil && k.String() != s {
			t.Errorf("ParseKey(%q) = %v", s, k)
		}
		if h, err := ParseHead(s); err == nil && h.String() != s {
			t.Errorf("ParseHead(%q) = %v", s, h)
		}
		if seq, err := ParseID(s); err == nil && ID(seq) != strings.ToLower(strings.TrimLeft(s, "0")) {
			t.Errorf("ParseID(%q) = %d", s, seq)
		}
	})
}

// FuzzDecode: the quick way and the slow one accept the same lines, and read the same.
func FuzzDecode(f *testing.F) {
	lines, _ := signedLog(f)
	f.Add(lines[0])
	f.Add(lines[1])
	written := regexp.MustCompile(`"time":"[^"]*"`)
	for _, t := range []string{
		"2024-02-29T23:59:59.999999Z", "2026-02-29T00:00:00.000000Z", "2026-04-31T00:00:00.000000Z", "2026-00-10T00:00:00.000000Z", "2026-13-10T00:00:00.000000Z",
		"2026-01-00T00:00:00.000000Z", "2026-01-01T24:00:00.000000Z", "2026-01-01T00:60:00.000000Z", "2026-01-01T00:00:60.000000Z", "0000-01-01T00:00:00.000000Z",
		"9999-12-31T23:59:59.999999Z", "2026-01-01T00:00:00,000000Z", "2026-01-01T00:00:00.00000 Z", "2026-01-01 00:00:00.000000Z", "+026-01-01T00:00:00.000000Z",
	} {
		f.Add(written.ReplaceAllString(lines[0], `"time":"`+t+`"`))
	}
	for _, r := range []Record{
		{Kind: KindExit, Subject: "a\x00\u202e", Principal: "alice \xff", Detail: strings.Repeat("é", MaxField), Call: 1<<64 - 1,
			End: &End{Code: -1, Limit: "x", Key: "y", WallNS: -5}, Labels: &Labels{Subject: "s", In: "\"in\""}, Degraded: "landlock"},
		{Kind: KindDecision, Labels: &Labels{}, End: &End{}},
	} {
		zeros := noLine()
		f.Add(string(appendRecord(nil, &r, zeros[:])))
	}
	f.Fuzz(func(t *testing.T, s string) {
		quick, ok := parse([]byte(s))
		slow, err := decodeSlowly([]byte(s))
		if kindErr := ofItsKind(&quick); ok && (err == nil) != (kindErr == nil) {
			t.Fatalf("%q: quick %+v, slow %v", s, quick, err)
		}
		if ok && err == nil && !reflect.DeepEqual(quick, slow) {
			t.Fatalf("%q is read as %+v and %+v", s, quick, slow)
		}
		// Whatever is a record is read quickly, unless it is of a year beyond 9999.
		if !ok && err == nil && !strings.Contains(s[:min(len(s), 64)], `"time":"-`) && slow.Time.Year() <= 9999 {
			t.Fatalf("%q is read slowly", s)
		}
	})
}
