(* The ML side of a session: reads what to evaluate from descriptor 3, writes
   what comes of it to descriptor 4. Standard output is the program's own.

     in   eval ID LINE THEORY LENGTH\n TEXT      stop ID\n
     out  KIND ID LINE START END LENGTH\n TEXT   with KIND writeln, warning, tracing,
          value (of a declaration), error, export, or done; TEXT of done is ok, failed or interrupted

   START and END are offsets in TEXT, ~1 where nobody knows. *)

exception ERROR of string;
fun error text = raise ERROR text;

structure Prover =
struct
  open Thread

  val input = Posix.FileSys.wordToFD 0w3
  val output = Posix.FileSys.wordToFD 0w4
  val lock = Mutex.mutex ()

  (* A message is written whole, whatever happens to its thread meanwhile. *)
  fun uninterrupted f =
    let
      val attributes = Thread.getAttributes ()
      val _ = Thread.setAttributes [Thread.InterruptState Thread.InterruptDefer]
      val _ = Mutex.lock lock
      val raised = (f (); NONE) handle e => SOME e
      val _ = Mutex.unlock lock
      val _ = Thread.setAttributes attributes
    in
      case raised of NONE => () | SOME e => raise e
    end

  fun write slice =
    if Word8VectorSlice.length slice = 0 then ()
    else write (Word8VectorSlice.subslice (slice, Posix.IO.writeVec (output, slice), NONE))

  fun say kind (id, line, start, stop) text =
    let
      val head = String.concatWith " " (kind :: map Int.toString [id, line, start, stop, size text]) ^ "\n"
    in uninterrupted (fn () => write (Word8VectorSlice.full (Byte.stringToBytes (head ^ text)))) end

  (* Which evaluation a thread belongs to, and of which theory. *)
  val here : (int * string) Universal.tag = Universal.tag ()
  fun current () = case Thread.getLocal here of SOME (id, _) => id | NONE => ~1
  fun theory () = case Thread.getLocal here of SOME (_, name) => name | NONE => ""
  fun message kind text = say kind (current (), 0, ~1, ~1) text

  fun text_of pretty =
    let val parts = ref [] : string list ref
    in PolyML.prettyPrint (fn s => parts := s :: ! parts, 76) pretty; String.concat (rev (! parts)) end

  fun trim s =
    if size s > 0 andalso Char.isSpace (String.sub (s, size s - 1)) then trim (String.substring (s, 0, size s - 1)) else s

  fun exception_text (ERROR text) = text
    | exception_text e =
        "exception " ^ trim (text_of (PolyML.prettyRepresentation (e, 100))) ^ " raised" ^
        (case PolyML.exceptionLocation e of
          SOME {startLine, ...} => if startLine > 0 then " (line " ^ FixedInt.toString startLine ^ ")" else ""
        | NONE => "")
        handle _ => "exception raised"

  fun eval (id, line, text) =
    let
      val at = ref 0
      val now = ref line
      fun get () =
        if ! at >= size text then NONE
        else
          let val c = String.sub (text, ! at)
          in at := ! at + 1; if c = #"\n" then now := ! now + 1 else (); SOME c end
      val printed = ref [] : string list ref
      fun flush () =
        let val s = trim (String.concat (rev (! printed)))
        in printed := []; if s = "" then () else say "value" (id, line, ~1, ~1) s end
      fun told {message, hard, location = {startLine, startPosition, endPosition, ...}: PolyML.location, context = _} =
        say (if hard then "error" else "warning")
          (id, FixedInt.toInt startLine, FixedInt.toInt startPosition, FixedInt.toInt endPosition)
          ((if hard then "ML error:\n" else "ML warning:\n") ^ trim (text_of message))
      val failed = ref false
      val parameters =
        [PolyML.Compiler.CPOutStream (fn s => printed := s :: ! printed),
         PolyML.Compiler.CPNameSpace PolyML.globalNameSpace,
         PolyML.Compiler.CPErrorMessageProc (fn e => (if #hard e then failed := true else (); told e)),
         PolyML.Compiler.CPLineNo (fn () => FixedInt.fromInt (! now)),
         PolyML.Compiler.CPLineOffset (fn () => FixedInt.fromInt (! at)),
         PolyML.Compiler.CPPrintInAlphabeticalOrder false]
      fun go () = if ! at >= size text then () else (PolyML.compiler (get, parameters) (); flush (); go ())
    in
      (go (); "ok") handle
          Thread.Interrupt => "interrupted"
        | e => (if ! failed then () else (flush (); say "error" (id, line, ~1, ~1) (exception_text e)); "failed")
    end

  val running = ref [] : (int * Thread.thread) list ref

  fun start (id, line, theory, text) =
    let
      val go = ref false
      val ready = ConditionVar.conditionVar ()
      fun wait () = if ! go then () else (ConditionVar.wait (ready, lock); wait ())
      fun finish how =
        (Thread.setAttributes [Thread.InterruptState Thread.InterruptDefer];
         Mutex.lock lock; running := List.filter (fn (i, _) => i <> id) (! running); Mutex.unlock lock;
         say "done" (id, 0, ~1, ~1) how)
      fun body () =
        let
          val _ = (Mutex.lock lock; wait (); Mutex.unlock lock)
          val _ = Thread.setLocal (here, (id, theory))
          val how =
            (Thread.setAttributes [Thread.InterruptState Thread.InterruptAsynch];
             eval (id, line, text)) handle _ => "interrupted"
        in finish how handle _ => finish how end
      val _ = Mutex.lock lock
      val thread = Thread.fork (body, [Thread.InterruptState Thread.InterruptDefer])
      val _ = running := (id, thread) :: ! running
      val _ = go := true
      val _ = ConditionVar.broadcast ready
    in Mutex.unlock lock end

  fun stop id =
    let
      val _ = Mutex.lock lock
      val found = List.find (fn (i, _) => i = id) (! running)
      val _ = Mutex.unlock lock
    in case found of SOME (_, thread) => (Thread.interrupt thread handle _ => ()) | NONE => () end

  fun main () =
    let
      val commands = TextIO.openIn "/proc/self/fd/3"
      val number = valOf o Int.fromString
      fun next () =
        case Option.map (String.tokens Char.isSpace) (TextIO.inputLine commands) of
          SOME ["eval", id, line, theory, length] =>
            (start (number id, number line, theory, TextIO.inputN (commands, number length)); next ())
        | SOME ["stop", id] => (stop (number id); next ())
        | _ => OS.Process.terminate OS.Process.success (* the server is gone *)
    in say "ready" (0, 0, ~1, ~1) ""; next () end
end;

(* What theories may expect of Isabelle/ML. *)

fun writeln text = Prover.message "writeln" text;
fun warning text = Prover.message "warning" text;
fun tracing text = Prover.message "tracing" text;

infix 1 |>;
fun x |> f = f x;
fun quote s = "\"" ^ s ^ "\"";
fun cat_lines lines = String.concatWith "\n" lines;
fun space_implode s = String.concatWith s;
fun string_of_int n = if n < 0 then "-" ^ Int.toString (~ n) else Int.toString n;
fun the (SOME x) = x | the NONE = raise Option;

type theory = string;
structure Context = struct fun theory_name _ = Prover.theory () end;
structure XML = struct datatype tree = Text of string type body = tree list end;
structure Export =
struct
  fun export (_: theory) (name: string) (body: XML.body) =
    Prover.message "export" (name ^ "\n" ^ String.concat (map (fn XML.Text s => s) body))
end;

PolyML.print_depth 20;
Prover.main ();
