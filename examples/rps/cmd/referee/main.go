// Referee is the rock-paper-scissors server: it lets programs of strangers play,
// and is the only one who sees a move before both have been made.
//
// usage: referee PLAYER...    the templates that may play
package main

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"

	"cofferdam/examples/rps/game"
	"cofferdam/sdk"
)

const maxRounds = 100

//go:embed page.html
var pages embed.FS

var page = template.Must(template.ParseFS(pages, "page.html"))

// house is the site.
type house struct {
	table   game.Table
	players []string
	mu      sync.Mutex // one match at a time
}

func main() {
	log.SetFlags(0)
	client, err := sdk.Connect(context.Background())
	if err != nil {
		log.Fatal("referee: ", err)
	}
	h := &house{table: game.Table{Client: client}, players: os.Args[1:]}
	http.HandleFunc("GET /{$}", h.show)
	http.HandleFunc("GET /match", h.match)
	log.Fatal("referee: ", http.ListenAndServe(":8080", nil))
}

// view is what the page shows.
type view struct {
	Players []string
	Match   *game.Match
}

func (h *house) show(w http.ResponseWriter, _ *http.Request) { h.write(w, view{Players: h.players}) }

func (h *house) write(w http.ResponseWriter, v view) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, v); err != nil {
		log.Print("referee: ", err)
	}
}

func (h *house) match(w http.ResponseWriter, r *http.Request) {
	one, two, rounds, err := h.asked(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	m, err := h.table.Play(r.Context(), one, two, rounds)
	switch {
	case err != nil:
		log.Print("referee: ", err)
		http.Error(w, "the match could not be played", http.StatusInternalServerError)
	case r.FormValue("format") == "json":
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(m)
	default:
		h.write(w, view{h.players, m})
	}
}

func (h *house) asked(r *http.Request) (one, two string, rounds int, err error) {
	one, two, rounds = r.FormValue("one"), r.FormValue("two"), 3
	for _, name := range []string{one, two} {
		if !slices.Contains(h.players, name) {
			return "", "", 0, fmt.Errorf("no player %.32q; there are %v", name, h.players)
		}
	}
	if text := r.FormValue("rounds"); text != "" {
		if rounds, err = strconv.Atoi(text); err != nil || rounds < 1 || rounds > maxRounds {
			return "", "", 0, fmt.Errorf("rounds=%.16q is not a number from 1 to %d", text, maxRounds)
		}
	}
	return one, two, rounds, nil
}
