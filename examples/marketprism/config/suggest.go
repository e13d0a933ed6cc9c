package config

import "strings"

// Hint returns the end of an error that suggests a name, or nothing if there is none.
func Hint(closest string) string {
	if closest == "" {
		return ""
	}
	return "; did you mean " + closest + "?"
}

// Closest returns the name that was probably meant by a word: the one with the fewest changed letters, at most two and about
// a third of the word, or else the first that begins with it. It is "" if there is none.
func Closest(word string, names []string) string {
	word = strings.ToLower(word)
	fewest, closest := min(2, (len(word)+1)/3)+1, ""
	for _, name := range names {
		if n := distance(word, strings.ToLower(name)); n < fewest {
			fewest, closest = n, name
		}
	}
	for _, name := range names {
		if closest == "" && len(word) > 1 && strings.HasPrefix(strings.ToLower(name), word) {
			closest = name
		}
	}
	return closest
}

// distance returns how many letters must be changed, added, removed or swapped with the next one to turn a into b (the optimal
// string alignment distance).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			switch {
			case i == 0 || j == 0:
				rows[i][j] = i + j
			case a[i-1] == b[j-1]:
				rows[i][j] = rows[i-1][j-1]
			default:
				rows[i][j] = 1 + min(rows[i-1][j-1], rows[i-1][j], rows[i][j-1])
				if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
					rows[i][j] = min(rows[i][j], 1+rows[i-2][j-2])
				}
			}
		}
	}
	return rows[len(a)][len(b)]
}
