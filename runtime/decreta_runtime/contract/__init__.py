"""Plain data shared by the compiler that writes it and the runtime that obeys it. Imports no engine."""
