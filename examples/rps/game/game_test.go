package game

import "testing"

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		one, two Move
		want     Seat
	}{
		{Rock, Rock, Nobody}, {Rock, Paper, Two}, {Rock, Scissors, One},
		{Paper, Rock, One}, {Paper, Paper, Nobody}, {Paper, Scissors, Two},
		{Scissors, Rock, Two}, {Scissors, Paper, One}, {Scissors, Scissors, Nobody},
		{"", Rock, Two}, {Rock, "", One}, {"", "", Nobody},
	} {
		r := Round{Moves: [2]Move{c.one, c.two}}
		if r.Judge(); r.Won != c.want {
			t.Errorf("%q against %q: %v, want %v", c.one, c.two, r.Won, c.want)
		}
	}
}

func TestMatch(t *testing.T) {
	var m Match
	for _, moves := range [][2]Move{{Rock, Paper}, {Rock, Scissors}, {"", Scissors}, {Rock, Rock}} {
		m.Add(Round{Moves: moves})
	}
	if m.Score != [2]int{1, 2} || len(m.Rounds) != 4 {
		t.Errorf("%+v", m)
	}
}

func TestParseMove(t *testing.T) {
	for text, ok := range map[string]bool{"rock": true, "paper": true, "scissors": true, "": false, "Rock": false, "rock\n": false, "lizard": false} {
		if _, err := ParseMove(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
