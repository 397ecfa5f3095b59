(* What the others of this directory have in common. Each says what it tries and how
   that ends, on a line of its own. Words between @ are the test's to fill in. *)
theory Try imports Main begin

ML ‹
fun tell what how = writeln (what ^ " -> " ^ how);

fun attempt what f =
  tell what (f ()
    handle OS.SysErr (why, _) => "refused: " ^ why
      | IO.Io {cause = OS.SysErr (why, _), ...} => "refused: " ^ why
      | e => "refused: " ^ exnMessage e);

fun contents file =
  let val s = TextIO.openIn file
  in TextIO.inputAll s before TextIO.closeIn s end;

fun put file text =
  let val s = TextIO.openOut file
  in TextIO.output (s, text); TextIO.closeOut s end;

fun listed dir =
  let
    val d = OS.FileSys.openDir dir
    fun all names = case OS.FileSys.readDir d of SOME name => all (name :: names) | NONE => rev names
  in all [] before OS.FileSys.closeDir d end;

(* What a program of the shell prints, and how it ends. That goes by a file: with Unix.execute
   a program now and then stays between fork and exec for ever, in this release of Poly/ML. *)
fun shell command =
  let
    val file = OS.FileSys.tmpName ()
    val ended = OS.Process.system ("exec >" ^ file ^ " 2>&1; " ^ command)
    val text = contents file before (OS.FileSys.remove file handle _ => ())
  in String.translate (fn #"\n" => " | " | c => str c) text ^ (if OS.Process.isSuccess ended then "[0]" else "[failed]") end;
›
end
