(* Runs for ever and does not listen. *)
theory Loop imports Try begin
ML ‹
val () = tell "loop" "begun";
val () = Thread.Thread.setAttributes [Thread.Thread.InterruptState Thread.Thread.InterruptDefer];
fun loop () : unit = loop ();
val () = loop ();
›
end
