package manifest

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

func readCommand(r *reader, v value, s *Service) {
	if kindOf(v.node) == isText {
		hint := "write " + flowList(strings.Fields(v.node.Value))
		if strings.ContainsAny(v.node.Value, "\"'`\\$|&;<>*?\n") {
			hint = "if it is for a shell, write [/bin/sh, -c, the text]"
		}
		r.refuse(v, hint, "want %s, not text: no shell splits it", aCommand)
		return
	}
	r.list(v, aCommand, maxList, func(v value) {
		if arg, ok := r.text(v, aText); ok {
			s.Command = append(s.Command, arg)
		}
	})
	if items := v.node.Content; kindOf(v.node) == isList &&
		(len(items) == 0 || kindOf(items[0]) == isText && items[0].Value == "") {
		r.refuse(v, "", "no program in the command")
	}
}

// flowList shows words as a list in one line, for hints.
func flowList(words []string) string {
	if len(words) > 8 {
		words = append(slices.Clone(words[:8]), "…")
	}
	for i, w := range words {
		if !plainWords.MatchString(w) || kindOf(&yaml.Node{Kind: yaml.ScalarNode, Value: w}) != isText {
			words[i] = fmt.Sprintf("%.64q", w)
		}
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// plainWords need no quotes in a list, unless they look like a number.
var plainWords = regexp.MustCompile(`^(-{0,2}[A-Za-z0-9/._=+]+)+$|^…$`)

func readEnvironment(r *reader, v value, s *Service) {
	seen := make(map[string]bool)
	add := func(v value, name, text string) {
		switch {
		case !envNames.MatchString(name):
			r.refuse(v, "it must match "+envNames.String(), "%.64q is not a variable's name", name)
		case strings.HasPrefix(name, "COFFERDAM_"):
			r.refuse(v, "", "%.64q: names with COFFERDAM_ are set by us alone", name)
		case seen[name]:
			r.refuse(v, "", "%q stands twice", name)
		default:
			seen[name] = true
			s.Environment = append(s.Environment, name+"="+text)
		}
	}
	if kindOf(v.node) == isList {
		r.list(v, variables, maxList, func(v value) {
			text, ok := r.text(v, "NAME=text")
			if !ok {
				return
			}
			name, text, given := strings.Cut(text, "=")
			if !given {
				r.refuse(v, "write "+name+"=text", "no value; nothing is inherited from the environment of the operator")
				return
			}
			add(v, name, text)
		})
	} else {
		r.pairs(v, variables, maxList, func(name string, at, v value) {
			switch k := kindOf(v.node); {
			case k == isNull:
				r.refuse(v, `write the value, or "" for an empty one`, "no value; nothing is inherited from the environment of the operator")
			case k == isInteger:
				add(at, name, v.node.Value)
			default:
				if text, ok := r.text(v, aText); ok {
					add(at, name, text)
				}
			}
		})
	}
	slices.Sort(s.Environment)
}

func readFiles(r *reader, v value, s *Service) {
	r.list(v, someFiles, maxList, func(v value) {
		f := File{Pos: v.pos()}
		if kindOf(v.node) == isText {
			r.shortFile(v, &f)
		} else {
			mapping(r, v, aFile, fileKeys(), &f)
		}
		s.Files = append(s.Files, f)
	})
}

// shortFile reads "from:to".
func (r *reader) shortFile(v value, f *File) {
	parts := strings.Split(v.node.Value, ":")
	if len(parts) != 2 {
		hint := "write {from: …, to: …}"
		if len(parts) == 3 && (parts[2] == "ro" || parts[2] == "rw") {
			hint = "files are read-only always; leave :" + parts[2] + " out"
		}
		r.refuse(v, hint, "%.64q is not %s", v.node.Value, aFile)
		return
	}
	for i, read := range []func(value){
		func(v value) { readFrom(r, v, f) },
		func(v value) { f.To = r.target(v) },
	} {
		part := *v.node
		part.Value = parts[i]
		part.Style |= yaml.DoubleQuotedStyle // text, whatever it looks like
		read(value{&part, v.key})
	}
}

func readFrom(r *reader, v value, f *File) { f.From = r.hostPath(v) }

// hostPath reads the path of something on the host that may be shown, "" if it is none.
func (r *reader) hostPath(v value) string {
	text, ok := r.text(v, aPath)
	switch {
	case !ok:
		return ""
	case text == "" || !printable(text):
		r.refuse(v, "", "%.64q is not %s", text, aPath)
		return ""
	case text == "~" || strings.HasPrefix(text, "~/"):
		r.refuse(v, "write the path from the manifest's directory on", "~ is not replaced, so that the file means the same for everybody")
		return ""
	case strings.HasPrefix(text, "$"):
		r.refuse(v, "write the path itself", "variables are not replaced, so that the file alone says what is granted")
		return ""
	}
	from := text
	if !filepath.IsAbs(from) {
		from = filepath.Join(r.dir, from)
	}
	from, err := r.resolve(filepath.Clean(from))
	switch {
	case err != nil:
		r.refuse(v, "", "%v", err)
	case !printable(from) || strings.Contains(from, "${"):
		r.refuse(v, "", "%q leads to %q, which cannot be written in a manifest", text, from)
	default:
		return from
	}
	return ""
}

func readVolumes(r *reader, v value, s *Service) {
	r.list(v, someVolumes, maxVolumes, func(v value) {
		if name, to, ok := strings.Cut(v.node.Value, ":"); ok && kindOf(v.node) == isText {
			hint := fmt.Sprintf("write {name: %.64s, to: %.64s}", name, to)
			if strings.ContainsAny(name, "./~") {
				hint = fmt.Sprintf("host files are shown with files: {from: %.64s, to: %.64s}", name, to)
			}
			r.refuse(v, hint, "want %s, not text", aVolume)
			return
		}
		o := Volume{Pos: v.pos()}
		mapping(r, v, aVolume, volumeKeys(), &o)
		s.Volumes = append(s.Volumes, o)
	})
}

func readVolumeName(r *reader, v value, o *Volume) {
	name, ok := r.text(v, aVolumeName)
	if ok && !validVolume(name) {
		r.refuse(v, "", "%.64q is not %s", name, aVolumeName)
		return
	}
	o.Name = name
}

func readTmpfs(r *reader, v value, s *Service) {
	r.list(v, someTmpfs, maxList, func(v value) {
		if kindOf(v.node) == isText {
			r.refuse(v, fmt.Sprintf("write {to: %.64s}", v.node.Value), "want %s, not text", aTmpfs)
			return
		}
		t := Tmpfs{Pos: v.pos()}
		mapping(r, v, aTmpfs, tmpfsKeys(), &t)
		s.Tmpfs = append(s.Tmpfs, t)
	})
}

func readRestart(r *reader, v value, s *Service) {
	switch kindOf(v.node) {
	case isMapping:
		mapping(r, v, aRestart, restartKeys(), &s.Restart)
		if b, m := s.Restart.Backoff, s.Restart.BackoffMax; b != 0 && m != 0 && b > m {
			r.refuse(v, "", "backoff %s is more than backoff_max %s", formatDuration(b), formatDuration(m))
		}
	default:
		readPolicy(r, v, &s.Restart)
	}
}

func readPolicy(r *reader, v value, s *Restart) {
	if v.node.Value == "unless-stopped" {
		r.refuse(v, "write always; what the operator stops stays stopped", "%q is not %s", v.node.Value, aPolicy)
		return
	}
	s.Policy, _ = r.oneOf(v, aPolicy, "always", "on-failure", "no")
}

func readDependsOn(r *reader, v value, s *Service) {
	if kindOf(v.node) == isMapping {
		var names []string
		for i := 0; i < len(v.node.Content); i += 2 {
			names = append(names, v.node.Content[i].Value)
		}
		r.refuse(v, "write "+flowList(names), "want %s, not a mapping: the one condition is that they are ready", someNames)
		return
	}
	r.list(v, someNames, maxServices, func(v value) {
		var name string
		r.peer(v, &name, func(other *Service) {
			if other.onDemand() {
				r.refuse(v, "", "%q is not started with the others and never ready", name)
			}
		})
		switch {
		case name == "":
		case slices.Contains(s.DependsOn, name):
			r.refuse(v, "", "%q stands twice", name)
		default:
			s.DependsOn = append(s.DependsOn, name)
		}
	})
}

// insidePath reads an absolute clean path.
func (r *reader) insidePath(v value) (string, bool) {
	text, ok := r.text(v, anInsidePath)
	switch {
	case !ok:
		return "", false
	case !path.IsAbs(text) || !printable(text) || len(text) > 1024:
		r.refuse(v, "", "%.64q is not %s", text, anInsidePath)
		return "", false
	case path.Clean(text) != text:
		r.refuse(v, fmt.Sprintf("write %q", path.Clean(text)), "%.64q is not a clean path", text)
		return "", false
	}
	return text, true
}
