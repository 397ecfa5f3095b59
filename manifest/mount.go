package manifest

import (
	"cmp"
	"fmt"
	"slices"
)

// taken are the places inside that are ours, and why.
var taken = []struct{ path, reason string }{
	{"/proc", "it is the environment's own"},
	{"/sys", "nothing of the kernel's settings is shown"},
	{"/dev", "the devices are fixed; for /dev/shm see limits.tmp"},
	{"/etc/hosts", "it holds the names of services"},
	{"/run/cofferdam", "the monitor is there"},
	{"/shares", "shares are mounted there"},
}

// hostRuntime are the directories that runtime: host fills.
var hostRuntime = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}

// target reads where inside something appears, "" if it may not appear there.
func (r *reader) target(v value) string {
	to, ok := r.insidePath(v)
	if !ok {
		return ""
	}
	switch to {
	case "/":
		r.refuse(v, "write a directory below it", "the root itself cannot be replaced")
		return ""
	case "/tmp":
		r.refuse(v, "its size is limits.tmp", "/tmp is there already")
		return ""
	case "/run":
		r.refuse(v, "write a directory below it", "/run itself cannot be replaced")
		return ""
	}
	for _, t := range taken {
		if within(to, t.path) {
			r.refuse(v, "", "%q is taken: %s", to, t.reason)
			return ""
		}
	}
	return to
}

// mount is a thing that appears at a place inside.
type mount struct {
	key string // of the service: "files[0].to"
	pos Pos
	to  string
}

func (s *Service) mounts() []mount {
	var all []mount
	for i, f := range s.Files {
		all = append(all, mount{fmt.Sprintf("files[%d].to", i), f.Pos, f.To})
	}
	for i, v := range s.Volumes {
		all = append(all, mount{fmt.Sprintf("volumes[%d].to", i), v.Pos, v.To})
	}
	for i, t := range s.Tmpfs {
		all = append(all, mount{fmt.Sprintf("tmpfs[%d].to", i), t.Pos, t.To})
	}
	slices.SortStableFunc(all, func(a, b mount) int {
		return cmp.Or(cmp.Compare(a.pos.Line, b.pos.Line), cmp.Compare(a.pos.Column, b.pos.Column))
	})
	return all
}

// checkMounts refuses two things at one place, and one below another: for the
// inner one a directory would have to be made in what belongs to the outer.
func (r *reader) checkMounts(v value, s *Service) {
	all := s.mounts()
	for i, m := range all {
		at := r.place(v, m.pos, v.key+"."+m.key)
		if s.Runtime == "host" {
			for _, dir := range append(hostRuntime, "/etc") {
				if within(m.to, dir) && (dir != "/etc" || m.to == dir) {
					r.refuse(at, "", "%q is the host's with runtime: host", m.to)
				}
			}
		}
		for _, other := range all[:i] {
			if m.to == other.to {
				r.refuse(at, "", "%q is taken by %s already", m.to, r.where(other.pos))
				break
			}
			if within(m.to, other.to) || within(other.to, m.to) {
				r.refuse(at, "put them side by side",
					"%q and %q of %s lie one within the other", m.to, other.to, r.where(other.pos))
				break
			}
		}
	}
}

// checkCommand refuses a program that cannot be there. What a spawner brings
// along is not known here, so templates are left alone.
func (r *reader) checkCommand(v value, s *Service) {
	program := s.Command[0]
	if s.Template || s.Runtime == "host" && !hasPrefixSlash(program) {
		return
	}
	if s.Runtime == "host" {
		for _, dir := range hostRuntime {
			if within(program, dir) {
				return
			}
		}
	}
	for _, m := range s.mounts() {
		if within(program, m.to) || !hasPrefixSlash(program) {
			return
		}
	}
	r.refuse(v, "show it with files, or the host's programs with runtime: host",
		"the program %.64q is in nothing that the service sees", program)
}

func hasPrefixSlash(s string) bool { return len(s) > 0 && s[0] == '/' }

// checkVolumes refuses storage that two services would share.
func (r *reader) checkVolumes(v value, a *App) {
	type owned struct {
		Volume
		service string
	}
	var all []owned
	for _, s := range a.Services {
		for i, o := range s.Volumes {
			if o.Name == "" {
				continue
			}
			for _, other := range all {
				if mayCoincide(o.Name, other.Name) {
					at := r.place(v, o.Pos, fmt.Sprintf("services.%s.volumes[%d].name", s.Name, i))
					r.refuse(at, "let one own it and provide calls", "volume %q is the same storage as %q of %s at %s, a way past the monitor",
						o.Name, other.Name, other.service, r.where(other.Pos))
				}
			}
			all = append(all, owned{o, s.Name})
		}
	}
}

// place is another position in v's document, for a message.
func (r *reader) place(v value, p Pos, key string) value {
	n := *v.node
	n.Line, n.Column = p.Line, p.Column
	return value{&n, key}
}
