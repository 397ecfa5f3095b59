package manifest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Rate is how much of something may happen: Amount in each Per, on average, and Burst
// at once. The zero value is that nothing was written; Amount is Unlimited where that
// was.
type Rate struct {
	Amount int64
	Per    time.Duration // a second, a minute or an hour
	Burst  int64         // default Amount
	Each   bool          // so much for each principal
}

// Rates are those of one line.
type Rates struct {
	Pos         Pos
	Calls       Rate
	Messages    Rate // to a mailbox, or taken from one
	Connections Rate
	Spawns      Rate
	Bytes       Rate // both directions together

	main Rate // where one was written without saying of what, while the manifest is read
}

const (
	totalRates   shape = "a mapping: rates"
	someRates    shape = "a rate such as 5/min burst 10 or 20/s per principal, or a mapping: rates"
	aRate        shape = "a rate such as 20/s, 5/min burst 10 or 20/s per principal, or unlimited"
	aRequestRate shape = "a rate such as 20/s or 5/min burst 10, or unlimited"
	aBytesRate   shape = "a rate of bytes such as 10M/s, 1G/h burst 100M or 64K/s per principal, or unlimited"
)

// ratesKeys are those of all lines. Which of them a line may have depends on what it is of.
func ratesKeys() table[Rates] {
	return table[Rates]{keys: []key[Rates]{
		{"calls", aRate, false, "no limit", "Of a call. Beyond it the answer is limited, at once.", func(r *reader, v value, o *Rates) {
			o.Calls = r.rate(v, aRate, counts, parseCount)
		}},
		{"messages", aRate, false, "no limit", "Of post, put and take: messages, and attempts to take one; of a mailbox: messages that are sent to it.", func(r *reader, v value, o *Rates) {
			o.Messages = r.rate(v, aRate, counts, parseCount)
		}},
		{"connections", aRate, false, "20/s with egress, no limit otherwise", "Of connect, egress and a port: new connections. Beyond it one is closed at once; where HTTP is spoken, after a 429.", func(r *reader, v value, o *Rates) {
			o.Connections = r.rate(v, aRate, counts, parseCount)
		}},
		{"spawns", aRate, false, "no limit", "Of spawn.", func(r *reader, v value, o *Rates) {
			o.Spawns = r.rate(v, aRate, counts, parseCount)
		}},
		{"bytes", aBytesRate, false, "16M/s with egress, no limit otherwise", "Bytes, both directions together. A connection goes slower beyond it; a call, post or put is limited until those before it have been paid for.", func(r *reader, v value, o *Rates) {
			o.Bytes = r.rate(v, aBytesRate, sizes, parseSize)
		}},
	}}
}

// readRates reads a rate, or a mapping of some.
func readRates(r *reader, v value, o *Rates) {
	o.Pos = v.pos()
	if kindOf(v.node) == isMapping {
		mapping(r, v, someRates, ratesKeys(), o)
		return
	}
	o.main = r.rate(v, someRates, counts, parseCount)
}

// readTotalRates reads those of a principal, whatever it does.
func readTotalRates(r *reader, v value, b *Budget) {
	o := &b.Principal
	o.Pos = v.pos()
	mapping(r, v, totalRates, ratesKeys(), o)
	for _, k := range o.kinds() {
		if k.rate.Each {
			r.refuse(r.key(v, k.key), "leave it out", "all of these are per principal")
		}
	}
}

// kinds are the rates, by their keys.
func (o *Rates) kinds() []struct {
	key  string
	rate *Rate
} {
	return []struct {
		key  string
		rate *Rate
	}{{"calls", &o.Calls}, {"messages", &o.Messages}, {"connections", &o.Connections}, {"spawns", &o.Spawns}, {"bytes", &o.Bytes}}
}

// fitRates refuses rates of what a line does not do, and gives the one that was written
// without its key the first of keys, which are those that it may have. v is the line.
func (r *reader) fitRates(v value, o *Rates, line string, keys ...string) {
	if o.Pos == (Pos{}) {
		return
	}
	at := r.place(v, o.Pos, v.key+".rate")
	if len(keys) == 0 {
		r.refuse(at, "leave it out", "nothing of %s has a rate", line)
		return
	}
	for _, k := range o.kinds() {
		may := false
		for _, name := range keys {
			may = may || name == k.key
		}
		if k.key == keys[0] && o.main != (Rate{}) {
			*k.rate, o.main = o.main, Rate{}
		}
		if !may && *k.rate != (Rate{}) {
			r.refuse(at, "write "+strings.Join(keys, " or "), "%s has no %s to count", line, k.key)
		}
	}
}

// rates is the grammar of a rate; the amounts have their own.
var rates = regexp.MustCompile(`^([^ /]+)/(s|min|h)( burst ([^ /]+))?( per principal)?$`)

var rateUnits = map[string]time.Duration{"s": time.Second, "min": time.Minute, "h": time.Hour}

// rate reads one. "0/s" is nothing and refused: leave the grant out.
func (r *reader) rate(v value, s shape, amounts *regexp.Regexp, parse func(string) (int64, bool)) Rate {
	if isUnlimited(v) {
		return Rate{Amount: Unlimited}
	}
	text, ok := r.text(v, s)
	if !ok {
		return Rate{}
	}
	m := rates.FindStringSubmatch(text)
	if m == nil {
		r.refuse(v, rateHint(text, amounts), "%.64q is not %s", text, s)
		return Rate{}
	}
	rate := Rate{Per: rateUnits[m[2]], Each: m[5] != ""}
	var ok1, ok2 bool
	rate.Amount, ok1 = parse(m[1])
	rate.Burst, ok2 = rate.Amount, true
	if m[3] != "" {
		rate.Burst, ok2 = parse(m[4])
	}
	switch {
	case !ok1 || !ok2:
		r.refuse(v, rateHint(text, amounts), "%.64q is not %s", text, s)
		return Rate{}
	case rate.Amount < 1 || rate.Burst < 1:
		r.refuse(v, "leave the grant out", "%.64q lets nothing pass", text)
		return Rate{}
	case float64(rate.Burst)/float64(rate.Amount)*float64(rate.Per) > float64(maxDuration):
		r.refuse(v, "", "%.64q: such a burst takes more than a year to come back", text)
		return Rate{}
	}
	return rate
}

// requestRate reads one that is of each person anyhow.
func (r *reader) requestRate(v value) Rate {
	rate := r.rate(v, aRequestRate, counts, parseCount)
	if rate.Each {
		r.refuse(v, "leave per principal out", "this is of each of them anyhow")
	}
	return rate
}

// rateHint guesses what was meant.
func rateHint(text string, amounts *regexp.Regexp) string {
	amount, rest, _ := strings.Cut(text, "/")
	if !amounts.MatchString(amount) {
		return ""
	}
	word, more, _ := strings.Cut(rest, " ")
	switch word {
	case "":
		return fmt.Sprintf("write %q, %q or %q", amount+"/s", amount+"/min", amount+"/h")
	case "sec", "second":
		word = "s"
	case "m", "minute":
		word = "min"
	case "hour":
		word = "h"
	default:
		return ""
	}
	return fmt.Sprintf("write %q", strings.TrimSpace(amount+"/"+word+" "+more))
}

var counts = regexp.MustCompile(`^[0-9]{1,6}$`)

func parseCount(s string) (int64, bool) {
	if !counts.MatchString(s) {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// fillDefaults is for a way out, which always has both.
func (o *Rates) fillDefaults() {
	orElse(&o.Connections, Rate{Amount: 20, Per: time.Second, Burst: 20})
	orElse(&o.Bytes, Rate{Amount: 16 << 20, Per: time.Second, Burst: 16 << 20})
}

// format is the text that is read as o, whose amounts are written by amount.
func (o Rate) format(amount func(int64) string) string {
	switch {
	case o.Amount == Unlimited:
		return unlimited
	case o == Rate{}:
		return ""
	}
	var unit string
	for name, d := range rateUnits {
		if d == o.Per {
			unit = name
		}
	}
	text := amount(o.Amount) + "/" + unit
	if o.Burst != o.Amount {
		text += " burst " + amount(o.Burst)
	}
	if o.Each {
		text += " per principal"
	}
	return text
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// texts are the rates that there are as they are written, with their keys.
func (o Rates) texts() (all [][2]string) {
	for _, k := range o.kinds() {
		amount := decimal
		if k.key == "bytes" {
			amount = formatSize
		}
		if text := k.rate.format(amount); text != "" {
			all = append(all, [2]string{k.key, text})
		}
	}
	return all
}

// node is nil for the rates of what has none.
func (o Rates) node() *yaml.Node {
	var out object
	for _, t := range o.texts() {
		out.add(t[0], text(t[1]))
	}
	if len(out.node.Content) == 0 {
		return nil
	}
	return out.done()
}

// String is what is shown to people of what passes through a grant, "" for no limit.
func (o Rates) String() string {
	var all []string
	for _, t := range o.texts() {
		if t[1] != unlimited {
			all = append(all, t[0]+" "+t[1])
		}
	}
	return strings.Join(all, ", ")
}
