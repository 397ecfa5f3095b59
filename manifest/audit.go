package manifest

import (
	"time"

	"go.yaml.in/yaml/v4"
)

// Audit says how the log of decisions is kept.
type Audit struct {
	RotateBytes int64         // of a segment, default 64 MiB
	Keep        int           // full segments, Unlimited by default
	Checkpoint  int           // records, default 1000
	Interval    time.Duration // default 10 s
}

func auditKeys() table[Audit] {
	return table[Audit]{keys: []key[Audit]{
		{"rotate", aSize, false, "64M", "How large a file of the log grows. Then it goes on in another one; audit and verify read all of them.", func(r *reader, v value, a *Audit) {
			a.RotateBytes = r.size(v, aSize, 64<<10)
		}},
		{"keep", aCountLimit, false, "unlimited: nothing is ever deleted", "How many full files are kept. Older ones are deleted, which is recorded and signed.", func(r *reader, v value, a *Audit) {
			a.Keep = r.countLimit(v, 1<<16)
		}},
		{"checkpoint", aCount, false, "1000", "The log is signed after so many records, at most 10000.", func(r *reader, v value, a *Audit) {
			a.Checkpoint = r.integer(v, aCount, 1, 10_000)
		}},
		{"interval", aTime, false, "10s", "It is signed so long after the first record since, too, at most an hour. What is not signed can be changed by who can write to the log.", func(r *reader, v value, a *Audit) {
			a.Interval = r.duration(v, aTime, time.Hour)
		}},
	}}
}

func (a *Audit) fillDefaults() {
	orElse(&a.RotateBytes, 64<<20)
	orElse(&a.Keep, Unlimited)
	orElse(&a.Checkpoint, 1000)
	orElse(&a.Interval, 10*time.Second)
}

func (a *Audit) node() *yaml.Node {
	var o object
	o.add("rotate", text(formatSize(a.RotateBytes)))
	o.add("keep", count(a.Keep))
	o.add("checkpoint", count(a.Checkpoint))
	o.add("interval", text(formatDuration(a.Interval)))
	return o.done()
}
