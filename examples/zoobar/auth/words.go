package auth

// words are what the model makes letters of, by their number: from so many
// people's favourites that none of them says whose it is.
var words = map[int][]string{
	3: {"sun", "cat", "dog", "sky", "red", "sea", "ace", "bee", "fox", "joy", "max", "sam", "tom", "zoe", "ivy", "leo", "amy", "ben", "dan", "eve"},
	4: {"love", "star", "blue", "moon", "king", "rock", "fire", "wolf", "pass", "test", "rose", "gold", "bear", "lion", "anna", "mike", "john", "lisa", "jazz", "snow", "baby", "life", "cool", "home"},
	5: {"angel", "happy", "magic", "tiger", "apple", "music", "river", "green", "smile", "dream", "peace", "lucky", "black", "queen", "david", "maria", "chris", "james", "money", "candy", "sunny", "ocean"},
	6: {"dragon", "summer", "monkey", "flower", "orange", "purple", "silver", "winter", "secret", "cookie", "ginger", "pepper", "hunter", "soccer", "hockey", "thomas", "daniel", "jessie", "yellow", "castle", "banana", "guitar"},
	7: {"rainbow", "monster", "freedom", "chicken", "phoenix", "charlie", "michael", "matthew", "jessica", "welcome", "diamond", "buttons", "october", "penguin", "dolphin", "vanilla", "england", "holiday", "forever", "cowboys"},
	8: {"princess", "sunshine", "football", "baseball", "computer", "elephant", "superman", "midnight", "dolphins", "mountain", "december", "november", "victoria", "jennifer", "swimming", "champion", "chocolat", "infinity", "starwars", "internet"},
}
