package manifest

import "fmt"

// shape is the form of a value in words, as messages and the reference say it.
type shape string

// table is every key that one kind of mapping may have.
type table[T any] struct {
	keys    []key[T]
	refused []refusal
}

// key is one key, and how its value becomes part of a T.
type key[T any] struct {
	name     string
	shape    shape
	required bool
	absent   string // what holds without it, in words
	doc      string
	read     func(r *reader, v value, into *T)
}

// refusal is a key that other tools have and we do not, and the reason.
type refusal struct {
	name, reason, instead string
}

// mapping reads v by a table. It tells whether nothing in it was refused.
func mapping[T any](r *reader, v value, s shape, t table[T], into *T) bool {
	before := r.count
	given := make(map[string]bool)
	r.pairs(v, s, len(t.keys)+len(t.refused)+maxErrors, func(name string, at, val value) {
		given[name] = true
		if k := t.key(name); k != nil {
			k.read(r, val, into)
			return
		}
		for _, no := range t.refused {
			if no.name == name {
				r.refuse(at, no.instead, "not possible: %s", no.reason)
				return
			}
		}
		names := make([]string, len(t.keys))
		for i, k := range t.keys {
			names[i] = k.name
		}
		r.refuse(at, r.didYouMean(name, names), "unknown key")
	})
	if kindOf(v.node) == isMapping {
		for _, k := range t.keys {
			if k.required && !given[k.name] {
				r.refuse(v, fmt.Sprintf("write %s: %s", k.name, k.shape), "%q is missing", k.name)
			}
		}
	}
	return r.count == before
}

func (t table[T]) key(name string) *key[T] {
	for i := range t.keys {
		if t.keys[i].name == name {
			return &t.keys[i]
		}
	}
	return nil
}
