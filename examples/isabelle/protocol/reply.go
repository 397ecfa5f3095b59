package protocol

// Reply is a message of the server: one of the kinds, and a value for [Encode].
func Reply(kind string, v any) Message {
	return Message{kind, string(Encode(nil, v))}
}

// Version answers the right password. It is short enough to go without a
// header, if id and name are: there are clients that look for one line.
func Version(id, name string) Message {
	return Reply(OK, Object{{"isabelle_id", id}, {"isabelle_name", name}})
}

// Hint answers the empty message.
func Hint() Message { return Reply(Note, "Command 'help' provides list of commands") }

// BadCommand answers a command that there is not.
func BadCommand(name string) Message { return Reply(Error, "Bad command '"+name+"'") }

// Malformed answers a command whose argument cannot be read.
func Malformed(m Message) Message {
	return UserError("Malformed argument for command '"+m.Name+"'", Field{"argument", m.Argument})
}

// BadArgument answers a command whose argument is not what it takes.
func BadArgument(m Message) Message {
	return UserError("Bad argument for command '"+m.Name+"'", Field{"argument", m.Argument})
}

// UserError answers a command that did not work, in the server's own words.
func UserError(message string, more ...Field) Message {
	return Reply(Error, append(errorObject(message), more...))
}

// Started answers a command whose task has begun.
func Started(task string) Message { return Reply(OK, Object{{"task", task}}) }

// FinishedTask ends a task.
func FinishedTask(task string, result ...Field) Message {
	return Reply(Finished, append(Object(result), Field{"task", task}))
}

// FailedTask ends a task that did not work.
func FailedTask(task, message string, more ...Field) Message {
	return Reply(Failed, append(append(errorObject(message), more...), Field{"task", task}))
}

// TaskNote tells something while a task is running. Kind is writeln, warning or error.
func TaskNote(task, kind, message string, more ...Field) Message {
	return Reply(Note, append(append(Object{{"kind", kind}, {"message", message}}, more...), Field{"task", task}))
}

func errorObject(message string) Object { return Object{{"kind", "error"}, {"message", message}} }

// NoSession is what the server says of a session that there is not.
func NoSession(id string) string { return "No session '" + id + "'" }

// NoDirectory is what it says of a directory that there is not.
func NoDirectory(path string) string { return `No such directory: "` + path + `"` }

// BadImport is what it says of a theory's name that cannot be one.
func BadImport(name string) string { return `Malformed theory import: "` + name + `"` }
