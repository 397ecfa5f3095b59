package wire

import (
	"strings"
	"time"

	"cofferdam/label"
)

// MaxPath is the length of the longest path, of a File or a Mount.
const MaxPath = 1 << 10

// Spawn asks for one instance of a template. Its fields together must fit in
// [MaxBody] bytes and [MaxFields] fields (a File takes two).
type Spawn struct {
	Args      []string      // further arguments, after those of the template; no zero bytes
	Env       []string      // "K=V" each, no K twice; no zero bytes
	Files     []File        // shown read-only, no path twice
	Stdin     []byte        // all of standard input
	Wall      time.Duration // whole milliseconds; 0 for the template's limit, which it can only lower
	Principal string        // for whom it runs; at most MaxPrincipal bytes
	Bound     []byte        // what servers see as bound to it; at most MaxBound bytes

	Label     *label.Label    // nil for the template's, joined with the spawner's
	Clearance *label.Label    // nil for the template's, or the label if that is higher
	Result    *label.Label    // of its output and its end: the reply is a handle to wait for; nil to wait now
	Gives     []label.Formula // privileges that it gets; at most MaxGives
	Handles   []uint64        // of objects that it gets; at most MaxHandles
	Out, In   label.Formula   // the privileges that release and that vouch
}

// File is a file given as bytes.
type File struct {
	Path string // inside: absolute and clean, at most MaxPath bytes, no zero bytes
	Data []byte
}

// Append appends s as a list of fields. Empty single values are left out, and
// Wall is rounded up to a millisecond.
func (s *Spawn) Append(dst []byte) []byte {
	for _, a := range s.Args {
		dst = AppendField(dst, KeyArg, a)
	}
	for _, e := range s.Env {
		dst = AppendField(dst, KeyEnv, e)
	}
	for _, f := range s.Files {
		dst = AppendField(dst, KeyFile, f.Path)
		dst = AppendField(dst, KeyData, f.Data)
	}
	if len(s.Stdin) != 0 {
		dst = AppendField(dst, KeyStdin, s.Stdin)
	}
	if s.Wall > 0 {
		dst = AppendUint(dst, KeyWall, uint64(milliseconds(s.Wall)))
	}
	if s.Principal != "" {
		dst = AppendField(dst, KeyPrincipal, s.Principal)
	}
	if len(s.Bound) != 0 {
		dst = AppendField(dst, KeyBound, s.Bound)
	}
	dst = appendLabel(dst, KeyLabel, s.Label)
	dst = appendLabel(dst, KeyClearance, s.Clearance)
	dst = appendLabel(dst, KeyResult, s.Result)
	for _, g := range s.Gives {
		dst = AppendField(dst, KeyGive, g.String())
	}
	for _, h := range s.Handles {
		dst = AppendUint(dst, KeyHandle, h)
	}
	dst = appendFormula(dst, KeyOut, s.Out)
	return appendFormula(dst, KeyIn, s.In)
}

func appendLabel(dst []byte, key uint8, l *label.Label) []byte {
	if l == nil {
		return dst
	}
	return AppendField(dst, key, l.String())
}

// ParseSpawn reads a Spawn, whose byte slices are views of b. It returns an
// [ErrMalformed] for a single value given twice, an unknown key, a content
// without its path or the other way round, and whatever breaks the rules
// written at the fields of Spawn and File.
func ParseSpawn(b []byte) (Spawn, error) {
	p := spawnParser{list: list{kind: "spawn"}, vars: make(set), paths: make(set)}
	err := ParseFields(b, p.field)
	if err == nil && p.file != "" {
		err = malformed("spawn: file %q has no content", p.file)
	}
	if err != nil {
		return Spawn{}, err
	}
	return p.Spawn, nil
}

type spawnParser struct {
	Spawn
	list        list
	file        string // the path whose content must come next
	vars, paths set
}

type set map[string]struct{}

// add refuses what was there before.
func (s set) add(name string) error {
	if _, dup := s[name]; dup {
		return malformed("spawn: %q twice", name)
	}
	s[name] = struct{}{}
	return nil
}

func (p *spawnParser) field(key uint8, val []byte) (err error) {
	if (p.file != "") != (key == KeyData) {
		return malformed("spawn: key %d after the path %q", key, p.file)
	}
	switch key {
	case KeyArg:
		arg, err := p.list.path(key, val)
		p.Args = append(p.Args, arg)
		return err
	case KeyEnv:
		return p.env(val)
	case KeyFile:
		return p.path(val)
	case KeyData:
		p.Files = append(p.Files, File{Path: p.file, Data: val})
		p.file = ""
		return nil
	case KeyStdin:
		p.Stdin = bound(val)
	case KeyWall:
		err = p.wall(val)
	case KeyPrincipal:
		p.Principal, err = p.list.text(key, val, MaxPrincipal)
	case KeyBound:
		p.Bound, err = bound(val), p.list.bytes(key, val, MaxBound)
	case KeyGive:
		return p.give(val)
	case KeyHandle:
		return p.list.handle(val, &p.Handles)
	case KeyLabel:
		p.Label, err = p.label(key, val)
	case KeyClearance:
		p.Clearance, err = p.label(key, val)
	case KeyResult:
		p.Result, err = p.label(key, val)
	case KeyOut:
		p.Out, err = p.list.formula(key, val)
	case KeyIn:
		p.In, err = p.list.formula(key, val)
	default:
		return p.list.unknown(key)
	}
	if err != nil {
		return err
	}
	return p.list.once(key)
}

func (p *spawnParser) label(key uint8, val []byte) (*label.Label, error) {
	l, err := p.list.label(key, val)
	return &l, err
}

func (p *spawnParser) give(val []byte) error {
	f, err := p.list.formula(KeyGive, val)
	if err == nil && len(p.Gives) == MaxGives {
		err = malformed("spawn: more than %d privileges", MaxGives)
	}
	p.Gives = append(p.Gives, f)
	return err
}

func (p *spawnParser) env(val []byte) error {
	kv, err := p.list.path(KeyEnv, val)
	if err != nil {
		return err
	}
	i := strings.IndexByte(kv, '=')
	if i <= 0 {
		return malformed("spawn: environment %q is not K=V", kv)
	}
	p.Env = append(p.Env, kv)
	return p.vars.add(kv[:i])
}

func (p *spawnParser) path(val []byte) error {
	name, err := p.list.absolute(KeyFile, val)
	if err != nil {
		return err
	}
	p.file = name
	return p.paths.add(name)
}

func (p *spawnParser) wall(val []byte) error {
	ms, err := ParseUint(val)
	if err != nil {
		return err
	}
	if ms == 0 || ms > uint64(MaxTimeout/time.Millisecond) {
		return malformed("spawn: wall limit of %d ms", ms)
	}
	p.Wall = time.Duration(ms) * time.Millisecond
	return nil
}
