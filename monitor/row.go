package monitor

// row is some who wait, in the order of their coming. Whoever leaves it is not looked for,
// however many there are. The caller guards it.
type row struct {
	first, last *wait
	count       int
}

// place is where one of them stands.
type place struct {
	row           *row // nil if it stands in none
	before, after *wait
}

func (r *row) add(w *wait) {
	w.place = place{row: r, before: r.last}
	if r.last == nil {
		r.first = w
	} else {
		r.last.place.after = w
	}
	r.last = w
	r.count++
}

// remove takes w out, if it is there.
func (r *row) remove(w *wait) {
	at := w.place
	if at.row != r {
		return
	}
	w.place = place{}
	if at.before == nil {
		r.first = at.after
	} else {
		at.before.place.after = at.after
	}
	if at.after == nil {
		r.last = at.before
	} else {
		at.after.place.before = at.before
	}
	r.count--
}
