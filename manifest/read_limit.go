package manifest

import "time"

// isUnlimited tells whether the word for no limit stands at v.
func isUnlimited(v value) bool {
	return kindOf(v.node) == isText && v.node.Value == unlimited
}

func (r *reader) sizeLimit(v value, low int64) int64 {
	if isUnlimited(v) {
		return Unlimited
	}
	return r.size(v, aSizeLimit, low)
}

func (r *reader) timeLimit(v value) time.Duration {
	if isUnlimited(v) {
		return Unlimited
	}
	return r.duration(v, aTimeLimit, maxDuration)
}

func (r *reader) countLimit(v value, high int) int {
	if isUnlimited(v) {
		return Unlimited
	}
	return r.integer(v, aCountLimit, 1, high)
}

// shareLimit reads a number of cores, in thousandths, from 0.01 to 1024.
func (r *reader) shareLimit(v value) float64 {
	if isUnlimited(v) {
		return Unlimited
	}
	if k := kindOf(v.node); k != isInteger && k != isFloat && !r.want(v, isFloat, aShareLimit) {
		return 0
	}
	f, ok := parseShare(v.node.Value)
	if !ok {
		r.refuse(v, "", "%.32s is not %s (0.01 to 1024, in steps of 0.001)", v.node.Value, aShareLimit)
	}
	return f
}

// inodes reads how many files fit in.
func (r *reader) inodes(v value) int64 {
	return int64(r.integer(v, aCount, 16, 1<<22))
}
