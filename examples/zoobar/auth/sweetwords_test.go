package auth

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestHoneywords(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, tt := range []struct {
		password string
		want     int
	}{
		{"supersecretpassword", 19},
		{"Sunshine1987!", 19},
		{"pass", 19},
		{"7", 9},         // there are no more digits
		{"a", 19},        // of 25 letters
		{"pässwörd", 19}, // what is of no class stays
		{"密码", 0},
		{"\xff\xfe", 0},
		{strings.Repeat("p", MaxPasswordBytes), 19},
	} {
		got := honeywords(r, tt.password, Sweetwords-1)
		chars := []rune(tt.password)
		if len(got) != tt.want {
			t.Errorf("%.20q has %d honeywords, want %d: %.200q", tt.password, len(got), tt.want, got)
		}
		for i, word := range got {
			if word == tt.password || slices.Contains(got[:i], word) {
				t.Errorf("%.20q: %q is there twice", tt.password, word)
			}
			if utf8.RuneCountInString(word) != utf8.RuneCountInString(tt.password) {
				t.Errorf("%.20q: %q is of another length", tt.password, word)
			}
			for j, c := range []rune(word) {
				if of := chars[j]; class(c) != class(of) || unicode.IsUpper(c) != unicode.IsUpper(of) {
					t.Errorf("%.20q: %q has another shape", tt.password, word)
					break
				}
			}
		}
	}
}

// A thief who takes the sweetword that is most like the others, because they were made
// from it, finds the password less often than he sets off the alarm.
func TestHoneywordsAreFlat(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	found, tries := 0, 0
	for _, password := range []string{"dragon12", "monkey!", "Summer2019", "qwerty", "hunter2", "zxcvbn9", "love4ever", "Tr0ub4dor"} {
		for range 50 {
			sweet := append(honeywords(r, password, Sweetwords-1), password)
			r.Shuffle(len(sweet), func(i, j int) { sweet[i], sweet[j] = sweet[j], sweet[i] })
			if mostCommon(sweet) == password {
				found++
			}
			tries++
		}
	}
	if found*2 > tries {
		t.Errorf("the password is the most common of its sweetwords in %d of %d cases", found, tries)
	}
}

// mostCommon is the word that shares most characters with the others.
func mostCommon(all []string) (best string) {
	most := -1
	for _, word := range all {
		n := 0
		for _, other := range all {
			for i := range min(len(word), len(other)) {
				if word[i] == other[i] {
					n++
				}
			}
		}
		if n > most {
			best, most = word, n
		}
	}
	return best
}
