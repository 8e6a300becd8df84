"""What the small templates are given."""
MESSAGES = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " Hi \n"},
                         {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"}, {"role": "user", "content": "Bye"}]}
PEOPLE = {"people": [{"name": "Bo", "age": 30}, {"name": "al", "age": 25}, {"name": "Cy", "age": 30},
                     {"name": "Al", "age": 40, "x": {"y": [1, 2]}}]}
