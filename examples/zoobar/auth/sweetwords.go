package auth

import (
	"math/rand/v2"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sweetwords are what a thief of the hashes has to choose from: the password and
// so many honeywords that there are this many (Juels and Rivest, Honeywords:
// Making Password-Cracking Detectable, 2013).
const Sweetwords = 20

// honeywords returns up to n different words that look as if the same person had
// chosen them, and none of which is the password. Half of them change its end, half
// keep its shape and change what it says: where people put words, a thief would know
// the real one from random letters, and where they put none, from words. There are fewer
// than n of a password that does not have as many neighbours.
func honeywords(r *rand.Rand, password string, n int) []string {
	if !utf8.ValidString(password) {
		return nil // what is no text has no characters to change
	}
	seen := map[string]bool{password: true}
	var made []string
	for try := 0; len(made) < n && try < 50*n; try++ {
		word := tweak(r, password)
		if try%2 == 1 {
			word = remodel(r, password)
		}
		if !seen[word] {
			seen[word] = true
			made = append(made, word)
		}
	}
	return made
}

// tweaked is how many characters at the end of a password are changed.
const tweaked = 3

// tweak puts other characters of the same classes in the place of the last ones.
func tweak(r *rand.Rand, password string) string {
	chars := []rune(password)
	for i := max(0, len(chars)-tweaked); i < len(chars); i++ {
		chars[i] = like(r, chars[i])
	}
	return string(chars)
}

// remodel puts other words in the place of its words, and other numbers in that of
// its numbers.
func remodel(r *rand.Rand, password string) string {
	var b strings.Builder
	chars := []rune(password)
	for len(chars) > 0 {
		n := 1
		for n < len(chars) && class(chars[n]) == class(chars[0]) {
			n++
		}
		run := chars[:n]
		chars = chars[n:]
		switch known := words[n]; {
		case class(run[0]) == letter && known != nil:
			b.WriteString(cased(known[r.IntN(len(known))], run))
		case n == 4 && (string(run[:2]) == "19" || string(run[:2]) == "20"):
			b.WriteString([]string{"19", "20"}[r.IntN(2)])
			b.WriteRune(like(r, '0'))
			b.WriteRune(like(r, '0'))
		default:
			for _, c := range run {
				b.WriteRune(like(r, c))
			}
		}
	}
	return b.String()
}

// cased is a word with the capitals where as has them.
func cased(word string, as []rune) string {
	out := []rune(word)
	for i := range out {
		if unicode.IsUpper(as[i]) {
			out[i] = unicode.ToUpper(out[i])
		}
	}
	return string(out)
}

// kind is a class of characters.
type kind int

const (
	other kind = iota
	letter
	digit
	mark
)

const (
	letters = "abcdefghijklmnopqrstuvwxyz"
	digits  = "0123456789"
	marks   = "!@#$%&*-_.?+"
)

func class(c rune) kind {
	switch {
	case strings.ContainsRune(letters, unicode.ToLower(c)):
		return letter
	case strings.ContainsRune(digits, c):
		return digit
	case strings.ContainsRune(marks, c):
		return mark
	}
	return other
}

// like is a character of the same class, or c if it is of none.
func like(r *rand.Rand, c rune) rune {
	switch class(c) {
	case letter:
		l := rune(letters[r.IntN(len(letters))])
		if unicode.IsUpper(c) {
			return unicode.ToUpper(l)
		}
		return l
	case digit:
		return rune(digits[r.IntN(len(digits))])
	case mark:
		return rune(marks[r.IntN(len(marks))])
	}
	return c
}
