package manager

import (
	"cofferdam/examples/isabelle/protocol"
)

// fits tells whether v is what the command results in. Fields that are not known
// here are for the client to judge.
func (p *plan) fits(v any) error {
	o, isObject := v.(protocol.Object)
	ok := isObject
	switch p.name {
	case "echo": // whether it is the same is for the client to say: numbers and the order of fields may differ
		ok = true
	case "cancel", "shutdown":
		ok = v == (protocol.Unit{})
	case "purge_theories":
		ok = ok && listOf(o, "purged", isNode) && listOf(o, "retained", isNode)
	case "session_build":
		ok = ok && is[bool](o, "ok") && is[float64](o, "return_code") && listOf(o, "sessions", isObjectValue)
	case "session_start":
		_, isID := protocol.UUID(o.Text("session_id"))
		ok = ok && isID && is[string](o, "tmp_dir")
	case "session_stop":
		ok = ok && is[bool](o, "ok") && is[float64](o, "return_code")
	case "use_theories":
		ok = ok && is[bool](o, "ok") && listOf(o, "errors", isObjectValue) && listOf(o, "nodes", isNode)
	}
	if !ok {
		return lie("a result of %s that is none", p.name)
	}
	return nil
}

func is[T any](o protocol.Object, name string) bool {
	v, _ := o.Get(name)
	_, ok := v.(T)
	return ok
}

func isObjectValue(v any) bool {
	_, ok := v.(protocol.Object)
	return ok
}

func isNode(v any) bool {
	o, ok := v.(protocol.Object)
	return ok && is[string](o, "node_name") && is[string](o, "theory_name")
}

func listOf(o protocol.Object, name string, each func(any) bool) bool {
	v, _ := o.Get(name)
	list, ok := v.([]any)
	for _, v := range list {
		ok = ok && each(v)
	}
	return ok
}

// Outside translates the paths in a reply, by the names of fields. What theories
// export is theirs, and stays.
func (t *Table) Outside(v any) any {
	switch v := v.(type) {
	case protocol.Object:
		for i, f := range v {
			text, isText := f.Value.(string)
			switch {
			case !isText && f.Name != "exports":
				v[i].Value = t.Outside(f.Value)
			case !isText:
			case f.Name == "node_name" || f.Name == "file" || f.Name == "tmp_dir":
				v[i].Value = t.Host(text)
			case f.Name == "message" || f.Name == "argument":
				v[i].Value = t.Text(text)
			}
		}
	case []any:
		for i := range v {
			v[i] = t.Outside(v[i])
		}
	}
	return v
}
