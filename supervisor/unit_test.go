package supervisor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cofferdam/manifest"
)

// The first end of what was well costs nothing, each further one within the period twice
// as much as the one before, half of it by chance, and too many are the end.
func TestRhythm(t *testing.T) {
	policy := manifest.Restart{Intensity: 4, Period: 10 * time.Second, Backoff: 100 * time.Millisecond, BackoffMax: 300 * time.Millisecond}
	const ms = time.Millisecond
	none, all := func(time.Duration) time.Duration { return 0 }, func(d time.Duration) time.Duration { return d }
	type end struct {
		after  time.Duration
		well   bool
		least  time.Duration
		most   time.Duration
		broken bool
	}
	for _, tt := range []struct {
		name string
		ends []end
	}{
		{"well before the first", []end{
			{0, true, 0, 0, false}, {1 * time.Second, true, 50 * ms, 100 * ms, false}, {2 * time.Second, true, 100 * ms, 200 * ms, false},
			{3 * time.Second, true, 150 * ms, 300 * ms, false}, {4 * time.Second, true, 150 * ms, 300 * ms, true},
		}},
		{"never well", []end{{0, false, 50 * ms, 100 * ms, false}, {1 * time.Second, false, 100 * ms, 200 * ms, false}}},
		{"well again after a period", []end{
			{0, true, 0, 0, false}, {1 * time.Second, true, 50 * ms, 100 * ms, false},
			{11 * time.Second, true, 0, 0, false}, {12 * time.Second, true, 50 * ms, 100 * ms, false},
		}},
		{"within a period of the last, not of the first", []end{
			{0, true, 0, 0, false}, {9 * time.Second, true, 50 * ms, 100 * ms, false}, {18 * time.Second, true, 100 * ms, 200 * ms, false},
			{27 * time.Second, true, 150 * ms, 300 * ms, false}, {36 * time.Second, true, 150 * ms, 300 * ms, false},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			low, high := rhythm{policy: policy}, rhythm{policy: policy}
			for i, e := range tt.ends {
				now := time.Unix(1000, 0).Add(e.after)
				least, broken := low.ended(now, e.well, none)
				most, _ := high.ended(now, e.well, all)
				if least != e.least || most != e.most || broken != e.broken {
					t.Errorf("end %d, after %v: wait from %v to %v, broken %v; want %+v", i, e.after, least, most, broken, e)
				}
			}
		})
	}
	for d := range 5 * time.Microsecond {
		if got := anyPart(d); got < 0 || got > d {
			t.Errorf("anyPart(%v) = %v", d, got)
		}
	}
}

func TestHealth(t *testing.T) {
	ill := errors.New("ill")
	began := time.Unix(1000, 0)
	type step struct {
		after time.Duration
		err   error
		want  Health
		pause time.Duration
	}
	const short, long = time.Second, time.Minute
	for _, tt := range []struct {
		name  string
		grace time.Duration
		steps []step
	}{
		{"well at once", 0, []step{{0, nil, Healthy, long}, {1, nil, Healthy, long}}},
		{"one failure is none", 0, []step{{0, nil, Healthy, long}, {1, ill, Healthy, long}, {2, nil, Healthy, long}, {3, ill, Healthy, long}}},
		{"two in a row are", 0, []step{{0, nil, Healthy, long}, {1, ill, Healthy, long}, {2, ill, Unhealthy, long}, {3, ill, Unhealthy, long}, {4, nil, Healthy, long}}},
		{"ill from the start", 0, []step{{0, ill, Untried, short}, {1, ill, Unhealthy, long}}},
		{"as long as it starts", 5, []step{{0, ill, Untried, short}, {1, ill, Untried, short}, {4, ill, Untried, short}, {5, ill, Untried, short}, {6, ill, Unhealthy, long}}},
		{"started early", 5, []step{{0, ill, Untried, short}, {1, nil, Healthy, long}, {2, ill, Healthy, long}, {3, ill, Unhealthy, long}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHealth(&manifest.Health{Interval: long, StartInterval: short, Retries: 2, StartPeriod: tt.grace}, began)
			for i, s := range tt.steps {
				before := h.state
				changed := h.note(began.Add(s.after), s.err)
				if h.state != s.want || changed != (before != s.want) || h.pause() != s.pause || (h.String() == "") != (s.err == nil) {
					t.Errorf("step %d, %v after %v: %s (changed: %v), the next in %v, %q; want %s, %v", i, s.err, s.after, h.state, changed, h.pause(), h.String(), s.want, s.pause)
				}
			}
		})
	}
}

func TestLineWriter(t *testing.T) {
	long := strings.Repeat("x", maxLineBytes)
	for _, tt := range []struct {
		name   string
		writes []string
		want   []string
	}{
		{"one line", []string{"a\n"}, []string{"a"}},
		{"in pieces", []string{"a", "b", "\nc\n"}, []string{"ab", "c"}},
		{"several at once", []string{"a\n\nb\n"}, []string{"a", "", "b"}},
		{"no end", []string{"a"}, []string{"a"}},
		{"as long as allowed", []string{long + "\n"}, []string{long}},
		{"too long is cut", []string{long + "tail\n"}, []string{long, "tail"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			w := &lineWriter{emit: func(b []byte) { got = append(got, string(b)) }}
			for _, s := range tt.writes {
				if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
					t.Fatalf("Write(%q) = %d, %v", s, n, err)
				}
			}
			w.Close()
			if strings.Join(got, "|") != strings.Join(tt.want, "|") {
				t.Errorf("lines %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSpawnedPath(t *testing.T) {
	for _, tt := range []struct {
		name, want string
	}{
		{"profile.py", "/run/profile.py"},
		{"/run/profile.py", "/run/profile.py"},
		{"/run/cofferdam", ""},
		{"/run/cofferdam/wire", ""},
		{"/etc/passwd", ""},
		{"../etc/passwd", ""},
		{"/run/../etc", ""},
		{"..", ""},
		{"", ""},
		{"/run/", ""},
		{"a\x00b", ""},
	} {
		got, err := spawnedPath(tt.name)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("spawnedPath(%q) = %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestVolumeOfPrincipal(t *testing.T) {
	// SHA-256 of "test1" and of "test1/.", as the lab's grader names them.
	for _, tt := range []struct{ principal, hash string }{
		{"test1", "1b4f0e9851971998e732078544c96b36c3d01cedf7caa332359d6f1d83567014"},
		{"test1/.", "d15abe583a0286472714776e89973c74407be96656340b36655c17f6c353f67c"},
	} {
		base, err := volumeOf("state-{principal}", tt.principal)
		if err != nil {
			t.Fatalf("volume for %q: %v", tt.principal, err)
		}
		if !strings.HasPrefix(base, "state-"+tt.hash[:8]) || len(base) != len("state-")+64 {
			t.Errorf("volume for %q is %q, want the hash %s…", tt.principal, base, tt.hash[:8])
		}
	}
	if _, err := volumeOf("state-{principal}", ""); err == nil {
		t.Error("a volume of nobody was given")
	}
}
