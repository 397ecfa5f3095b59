package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"cofferdam/bench/own"
	"cofferdam/label"
)

// labelled is a question, may this flow there, in both forms: as labels, and as sets
// of sets of names.
type labelled struct {
	from, to       label.Label
	fromSet, toSet [2][][]string
	right          bool
}

// questions are pairs of labels with four clauses of three names, of which every
// second flows: the one has a clause more.
func questions(n int) ([]labelled, error) {
	var all []labelled
	for i := range n {
		var secrecy [][]string
		for c := range 4 {
			var names []string
			for k := range 3 {
				names = append(names, fmt.Sprintf("user:%05d@example.com", i*12+c*3+k))
			}
			secrecy = append(secrecy, names)
		}
		less, more := secrecy[:3], secrecy
		if i%2 == 1 {
			less, more = more, less
		}
		from, err1 := label.NewFormula(less...)
		to, err2 := label.NewFormula(more...)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		all = append(all, labelled{
			from: label.New(from, label.Formula{}), to: label.New(to, label.Formula{}),
			fromSet: [2][][]string{less, nil}, toSet: [2][][]string{more, nil}, right: i%2 == 0,
		})
	}
	return all, nil
}

// plainFlows is the definition, written down plainly: the target's secrecy implies the
// source's, and the source's integrity the target's.
func plainFlows(from, to [2][][]string) bool {
	return plainImplies(to[0], from[0]) && plainImplies(from[1], to[1])
}

func plainImplies(f, g [][]string) bool {
	for _, d := range g {
		some := slices.ContainsFunc(f, func(c []string) bool {
			return !slices.ContainsFunc(c, func(name string) bool { return !slices.Contains(d, name) })
		})
		if !some {
			return false
		}
	}
	return true
}

// checks is a contestant that answers each of the questions in turn, in rounds of
// thousands, and says how many it answered in a second.
func checks(name, how string, flows func(q *labelled) bool) contestant {
	return contestant{name: name, how: how, open: func() (runner, error) {
		all, err := questions(64)
		if err != nil {
			return runner{}, err
		}
		return runner{run: func(count int) (own.Reading, error) {
			wrong := 0
			began := time.Now()
			for range count {
				for i := range all {
					if flows(&all[i]) != all[i].right {
						wrong++
					}
				}
			}
			took := time.Since(began)
			if wrong > 0 {
				return own.Reading{}, fmt.Errorf("%d answers are wrong", wrong)
			}
			return own.Reading{Value: float64(count*len(all)) / took.Seconds() / 1e6}, nil
		}}, nil
	}}
}
