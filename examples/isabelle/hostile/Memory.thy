(* Eats memory. *)
theory Memory imports Try begin
ML ‹
val () = tell "memory" "begun";
fun eat kept = eat (Word8Array.array (8 * 1024 * 1024, 0w1) :: kept);
val () = eat [];
›
end
