// Package game is rock-paper-scissors: who wins, and how a match goes on. It
// knows of no labels, no processes and no players.
package game

import "fmt"

// Move is what a player shows.
type Move string

// The moves.
const (
	Rock     Move = "rock"
	Paper    Move = "paper"
	Scissors Move = "scissors"
)

var beats = map[Move]Move{Rock: Scissors, Paper: Rock, Scissors: Paper}

// ParseMove reads a move. Anything but the three words is an error.
func ParseMove(text string) (Move, error) {
	m := Move(text)
	if _, ok := beats[m]; !ok {
		return "", fmt.Errorf("%.32q is no move", text)
	}
	return m, nil
}

// Seat is one of the two places at the table.
type Seat int

// The seats, and nobody.
const (
	Nobody Seat = iota
	One
	Two
)

// Round is one round. A player who made no valid move has "" for it, and why in
// Foul.
type Round struct {
	Moves [2]Move   `json:"moves"`
	Fouls [2]string `json:"fouls,omitempty"`
	Won   Seat      `json:"won"` // Nobody for a draw
}

// Judge decides a round. Who makes no move loses against who does.
func (r *Round) Judge() {
	a, b := r.Moves[0], r.Moves[1]
	switch {
	case a == b:
		r.Won = Nobody
	case b == "" || beats[a] == b:
		r.Won = One
	default:
		r.Won = Two
	}
}

// Match is a match between two players.
type Match struct {
	Players [2]string `json:"players"`
	Rounds  []Round   `json:"rounds"`
	Score   [2]int    `json:"score"`
}

// Add judges a round and counts it.
func (m *Match) Add(r Round) {
	r.Judge()
	m.Rounds = append(m.Rounds, r)
	if r.Won != Nobody {
		m.Score[r.Won-1]++
	}
}

// Seen is what a player is told of the rounds before: what everybody knows.
type Seen struct {
	Mine   Move `json:"mine"`
	Theirs Move `json:"theirs"`
}

// seenFrom is how the match looks from a seat, 0 or 1.
func (m *Match) seenFrom(seat int) []Seen {
	seen := []Seen{}
	for _, r := range m.Rounds {
		seen = append(seen, Seen{Mine: r.Moves[seat], Theirs: r.Moves[1-seat]})
	}
	return seen
}
