package rps_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cofferdam/examples/apptest"
	"cofferdam/examples/rps/game"
)

// tattler is the snitch as a service that holds no secret: what it sends arrives.
const tattler = `
  tattler:
    clearance: '"tsa.gov" %%%% True'
    restart: "no"
    runtime: host
    command: [/usr/bin/python3, -I, /app/snitch.py]
    files: [{from: players/snitch.py, to: /app/snitch.py}, {from: ../../sdk/python/cofferdam.py, to: /app/cofferdam.py},
            {from: ../../sdk/python/cofferdam_labels.py, to: /app/cofferdam_labels.py}]
    environment: {TSA: '%[1]s'}
    uses: [{egress: '%[1]s', request: 'tsa.gov %%%% True', answer: 'True %%%% tsa.gov', private: true}]
`

type house struct {
	*apptest.App
	told atomic.Int64 // what arrived at the stand-in of tsa.gov
}

func open(t *testing.T) *house {
	h := new(house)
	tsa := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); string(body) == "scissors" {
			h.told.Add(1)
		}
	}))
	t.Cleanup(tsa.Close)
	at := strings.TrimPrefix(tsa.URL, "http://")
	if host, _, err := net.SplitHostPort(at); err != nil || host != "127.0.0.1" {
		t.Fatal(at, err)
	}
	h.App = apptest.Start(t, apptest.Options{
		Programs: []string{"cofferdam/examples/rps/cmd/..."},
		Shown:    []string{"players"},
		Change: func(m string) string {
			m = strings.ReplaceAll(m, "answer: 'True %% tsa.gov'}", "answer: 'True %% tsa.gov', private: true}")
			return strings.ReplaceAll(m, "tsa.gov:80", at) + fmt.Sprintf(tattler, at)
		},
	})
	return h
}

func (h *house) play(t *testing.T, one, two string, rounds int) game.Match {
	t.Helper()
	q := url.Values{"one": {one}, "two": {two}, "rounds": {fmt.Sprint(rounds)}, "format": {"json"}}
	response, err := http.Get(h.URL + "/match?" + q.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v\n%s", q.Encode(), response.Status, err, h.Output(t, "logs", "referee"))
	}
	var m game.Match
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if len(m.Rounds) != rounds {
		t.Errorf("%d rounds, want %d", len(m.Rounds), rounds)
	}
	return m
}

// said is what a player printed about what it tried: "what -> how it ended".
func (h *house) said(t *testing.T, player string) map[string]string {
	t.Helper()
	said := make(map[string]string)
	for line := range strings.Lines(h.Output(t, "logs", "referee")) {
		if _, line, ok := strings.Cut(line, player+": "); ok {
			if what, how, ok := strings.Cut(strings.TrimSpace(line), " -> "); ok {
				said[what] = how
			}
		}
	}
	return said
}

// refused fails the test unless a player tried at least so many things, and all of
// them ended in one of the errors.
func (h *house) refused(t *testing.T, player string, atLeast int, errors ...string) {
	t.Helper()
	said := h.said(t, player)
	if len(said) < atLeast {
		t.Errorf("%s tried %d things, want %d:\n%s", player, len(said), atLeast, h.Output(t, "logs", "referee"))
	}
	for what, how := range said {
		ok := false
		for _, e := range errors {
			ok = ok || how == e
		}
		if !ok {
			t.Errorf("%s: %s: %s", player, what, how)
		}
	}
}

func TestRockPaperScissors(t *testing.T) {
	h := open(t)

	t.Run("a fair match, in Python and in Go", func(t *testing.T) {
		m := h.play(t, "copycat", "gopher", 4)
		for _, r := range m.Rounds {
			if r.Fouls != [2]string{} {
				t.Errorf("%+v", r)
			}
		}
		if m.Rounds[0].Moves != [2]game.Move{game.Rock, game.Rock} || m.Rounds[1].Won != game.Two {
			t.Errorf("%+v", m)
		}
	})
	t.Run("who peeks sees nothing", func(t *testing.T) {
		// It beats what it gets to know, and shows rock if it knows nothing.
		if m := h.play(t, "snitch", "peeker", 1); m.Rounds[0].Moves != [2]game.Move{game.Scissors, game.Rock} {
			t.Errorf("%+v", m)
		}
		h.refused(t, "peeker", 9, "LabelError", "Denied")
	})
	t.Run("who reports is not heard", func(t *testing.T) {
		h.play(t, "snitch", "gopher", 1)
		h.play(t, "gopher", "snitch", 1)
		h.refused(t, "snitch", 5, "LabelError", "ConnectionError")
		if !strings.Contains(h.Output(t, "audit", "--format", "jsonl"), `"labels"`) {
			t.Error("nothing of it is in the log")
		}
	})
	t.Run("but would be, without a secret", func(t *testing.T) {
		for end := time.Now().Add(10 * time.Second); h.told.Load() == 0 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		}
		if n := h.told.Load(); n != 1 {
			t.Errorf("%d reports, want the one of the tattler:\n%s\n%s", n, h.Output(t, "logs", "tattler"), h.Output(t, "audit", "--denied"))
		}
	})
	t.Run("who forges plays once, for itself", func(t *testing.T) {
		if m := h.play(t, "forger", "copycat", 1); m.Rounds[0].Moves[0] != game.Paper || m.Score != [2]int{1, 0} {
			t.Errorf("%+v", m)
		}
		h.refused(t, "forger", 4, "LabelError", "nothing []")
	})
	t.Run("who sleeps loses", func(t *testing.T) {
		m := h.play(t, "sleeper", "copycat", 1)
		if m.Score != [2]int{0, 1} || m.Rounds[0].Fouls[0] == "" {
			t.Errorf("%+v", m)
		}
	})
}
